import Foundation
import Testing

/// What `make demo` shows, byte for byte.
@Suite struct DemoTests {
  @Test func theDemoDrawsTheExpectedPicture() throws {
    let folder = try Folder()
    let demo = testData.appendingPathComponent("demo")
    let compiled = try Command.run(
      "compile", demo.appendingPathComponent("tracer.wasm").path, "-o", "tracer.cwasm", in: folder)
    #expect(compiled.status == 0, "\(compiled.errors)")
    let run = try Command.run(
      "run", "--dir", "\(demo.path)::/scene", "--dir", ".::/out", "tracer.cwasm", "/scene/scene.txt", "-o",
      "/out/picture.png", in: folder)
    #expect(run.status == 0, "\(run.errors)")
    #expect(try run.output == Data(contentsOf: demo.appendingPathComponent("expected.txt")))
    #expect(try folder.read("picture.png") == Data(contentsOf: demo.appendingPathComponent("expected.png")))
  }

  @Test func aMistakeInTheSceneIsTheGuestsToReport() throws {
    let folder = try Folder()
    try folder.write("scene.txt", "image 8 8 1\n\nsphere gold 0 0 0 1\n")
    let module = testData.appendingPathComponent("demo/tracer.wasm").path
    let run = try Command.run("run", "--dir", ".", module, "scene.txt", in: folder)
    #expect(run.status == 2)
    #expect(run.output.isEmpty)
    #expect(run.errors == "tracer: scene.txt:3: unknown material: gold\n")
  }
}
