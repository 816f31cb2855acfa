// The entry trampoline's frame, which the signal handler relies on where the trampoline's code is lost.

import CPrecastHost
import Foundation
import Precast
import PrecastArtifact
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct EntryFrame {
  @Test func theTwoStatementsOfItAgree() {
    #expect(EntryFrameLayout.rbx == Int(PRECAST_ENTRY_FRAME_RBX))
    #expect(EntryFrameLayout.r12 == Int(PRECAST_ENTRY_FRAME_R12))
    #expect(EntryFrameLayout.r13 == Int(PRECAST_ENTRY_FRAME_R13))
    #expect(EntryFrameLayout.r14 == Int(PRECAST_ENTRY_FRAME_R14))
    #expect(EntryFrameLayout.r15 == Int(PRECAST_ENTRY_FRAME_R15))
    #expect(AArch64EntryFrameLayout.x28 == Int(PRECAST_AARCH64_ENTRY_FRAME_X28))
    #expect(AArch64EntryFrameLayout.x27 == Int(PRECAST_AARCH64_ENTRY_FRAME_X27))
    #expect(AArch64EntryFrameLayout.x26 == Int(PRECAST_AARCH64_ENTRY_FRAME_X26))
    let pairs = [
      PRECAST_AARCH64_ENTRY_FRAME_D8, PRECAST_AARCH64_ENTRY_FRAME_D10, PRECAST_AARCH64_ENTRY_FRAME_D12,
      PRECAST_AARCH64_ENTRY_FRAME_D14,
    ]
    for (index, offset) in pairs.enumerated() {
      #expect(AArch64EntryFrameLayout.vector(8 + 2 * index) == Int(offset))
      #expect(AArch64EntryFrameLayout.vector(9 + 2 * index) == Int(offset) + 8)
    }
    #expect(TrapCode.damagedArtifact.rawValue == UInt8(PRECAST_TRAP_DAMAGED))
  }

  /// The compiler's trampolines for types with and without stack arguments and results are, up to the store of the entry
  /// frame pointer, these instructions and no others; and end by restoring from the same places.
  @Test func theCompilersTrampolinesHaveIt() throws {
    let many = Array(repeating: "i64 f64", count: 20).joined(separator: " ")
    let module = try Module(
      engine: Engine(),
      wasm: try WAT.binary(
        """
        (module
          (func (export "a"))
          (func (export "b") (param i32 f64 f32) (result i64) (i64.const 1))
          (func (export "c") (param \(many)))
          (func (export "d") (result f32 i32 i64 f64) unreachable))
        """))
    let artifact = module.artifact
    let info = try artifact.moduleInfo()
    try #require(info.typeCount == 4)
    // push rbp; mov rbp, rsp; push rbx, r12, r13, r14, r15, rdx
    let begin: [UInt8] = [0x55, 0x48, 0x89, 0xE5, 0x53, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x52]
    #expect(begin.prefix(Int(PRECAST_ENTRY_PUSH_SIZE)) == [0x55])
    for type in 0..<4 {
      let range = try #require(try info.entryTrampoline(type: type))
      let code = UnsafeRawBufferPointer(
        start: UnsafeRawPointer(bitPattern: try #require(artifact.entryTrampoline(typeIndex: type))),
        count: Int(range.size)
      ).map { $0 }
      #expect(code.starts(with: begin))
      var rest = code.dropFirst(begin.count)
      // sub rsp, imm8 or imm32
      if rest.starts(with: [0x48, 0x83, 0xEC]) { rest = rest.dropFirst(4) }
      if rest.starts(with: [0x48, 0x81, 0xEC]) { rest = rest.dropFirst(7) }
      // mov [rcx], rsp; lea rax, [rip + ...]
      #expect(rest.starts(with: [0x48, 0x89, 0x21, 0x48, 0x8D, 0x05]), "type \(type)")
      rest = rest.dropFirst(10)
      // mov [rcx + 8], rax; mov [rcx + 16], rbp
      #expect(rest.starts(with: [0x48, 0x89, 0x41, 0x08, 0x48, 0x89, 0x69, 0x10]), "type \(type)")
      // mov rbx, [rbp - 8]; r12, r13, r14, r15 likewise; leave; ret
      let end: [UInt8] = [
        0x48, 0x8B, 0x5D, 0xF8, 0x4C, 0x8B, 0x65, 0xF0, 0x4C, 0x8B, 0x6D, 0xE8, 0x4C, 0x8B, 0x75, 0xE0, 0x4C, 0x8B,
        0x7D,
        0xD8, 0xC9, 0xC3,
      ]
      #expect((0...code.count - end.count).contains { code[$0...].starts(with: end) }, "type \(type)")
    }
  }
}
