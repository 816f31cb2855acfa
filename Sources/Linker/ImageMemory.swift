// The memory in which an image is made.
//
// A loader wants the bytes in pages that it is about to map somewhere else, a writer wants them anywhere. So the
// memory is either given, or taken from the kernel here: fresh pages are zero, and the text of a large module comes
// and goes without leaving holes in the heap.

import Glibc
import PrecastArtifact

/// The memory of an image's parts, owned or borrowed.
@safe
final class ImageMemory: @unchecked Sendable {
  // Written while the image is made, by one thread; only read afterwards.
  let text: UnsafeMutableRawBufferPointer
  let ehFrame: UnsafeMutableRawBufferPointer
  let readOnly: UnsafeMutableRawBufferPointer
  let writable: UnsafeMutableRawBufferPointer
  // The text, where it stays where islands were planted in it.
  private let code: TextMemory?
  // What to give back.
  private let mapping: UnsafeMutableRawBufferPointer?

  /// Memory for the parts of an image: zero, but for a text in which islands were planted.
  init(_ state: LinkState, _ destination: LinkDestination?) throws(LinkError) {
    let sizes = state.sizes
    let code = state.text.memory
    guard unsafe code?.bytes.count ?? sizes.text >= sizes.text else {
      throw LinkError(.cannotLayOut, "there is no text")
    }
    let laidOut = unsafe code.map { unsafe UnsafeMutableRawBufferPointer(rebasing: $0.bytes[0..<sizes.text]) }
    if let destination {
      func part(
        _ memory: UnsafeMutableRawBufferPointer, _ size: Int, _ name: String
      ) throws(LinkError) -> UnsafeMutableRawBufferPointer {
        guard memory.count >= size else {
          throw LinkError(.cannotLayOut, "\(name) needs \(size) bytes, there are \(memory.count) for it")
        }
        return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[0..<size])
      }
      unsafe text = try part(destination.text, sizes.text, "the text")
      unsafe ehFrame = try part(destination.ehFrame, sizes.ehFrame, "the unwind table")
      unsafe readOnly = try part(destination.readOnly, sizes.readOnly, "the read-only part")
      unsafe writable = try part(destination.writable, sizes.writable, "the writable part")
      unsafe mapping = nil
      self.code = nil
      if let laidOut = unsafe laidOut { unsafe text.copyMemory(from: UnsafeRawBufferPointer(laidOut)) }
      return
    }
    let parts = unsafe [laidOut == nil ? sizes.text : 0, sizes.ehFrame, sizes.readOnly, sizes.writable]
    let length = max(parts.reduce(0) { $0 + aligned($1, 64) }, 1)
    guard
      let base = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe base != MAP_FAILED
    else { throw LinkError(.cannotLayOut, "no memory for an image of \(length) bytes") }
    let all = unsafe UnsafeMutableRawBufferPointer(start: base, count: length)
    var start = 0
    func take(_ size: Int) -> UnsafeMutableRawBufferPointer {
      defer { start += aligned(size, 64) }
      return unsafe UnsafeMutableRawBufferPointer(rebasing: all[start..<start + size])
    }
    let ownText = unsafe take(parts[0])
    unsafe text = laidOut ?? ownText
    unsafe ehFrame = take(parts[1])
    unsafe readOnly = take(parts[2])
    unsafe writable = take(parts[3])
    unsafe mapping = all
    self.code = code
  }

  deinit {
    if let mapping = unsafe mapping { _ = unsafe munmap(mapping.baseAddress, mapping.count) }
  }

  /// A part as others read it.
  func region(_ part: UnsafeMutableRawBufferPointer, _ section: SectionKind) -> ByteRegion {
    guard let base = part.baseAddress else { return ByteRegion(emptyIn: section) }
    return unsafe ByteRegion(base: base, count: part.count, section: section)
  }
}
