// The memory in which an image is made.
//
// A loader wants the bytes in pages that it is about to map somewhere else, a writer wants them anywhere. So the memory is
// either given, or taken from the kernel here: fresh pages are zero, and the text of a large module comes and goes
// without leaving holes in the heap.

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
  // What to give back.
  private let mapping: UnsafeMutableRawBufferPointer?

  /// Memory for parts of these sizes, zero.
  init(_ sizes: LinkedSizes) throws(LinkError) {
    var total = 0
    func reserve(_ size: Int) -> Range<Int> {
      let start = total
      total += (size + 63) & ~63
      return start..<start + size
    }
    let text = reserve(sizes.text)
    let ehFrame = reserve(sizes.ehFrame)
    let readOnly = reserve(sizes.readOnly)
    let writable = reserve(sizes.writable)
    let length = max(total, 1)
    guard
      let base = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe base != MAP_FAILED
    else { throw LinkError(.cannotLayOut, "no memory for an image of \(total) bytes") }
    let all = UnsafeMutableRawBufferPointer(start: base, count: length)
    unsafe self.text = UnsafeMutableRawBufferPointer(rebasing: all[text])
    unsafe self.ehFrame = UnsafeMutableRawBufferPointer(rebasing: all[ehFrame])
    unsafe self.readOnly = UnsafeMutableRawBufferPointer(rebasing: all[readOnly])
    unsafe self.writable = UnsafeMutableRawBufferPointer(rebasing: all[writable])
    unsafe mapping = all
  }

  /// The memory that a caller gave, cut to these sizes.
  init(_ destination: LinkDestination, _ sizes: LinkedSizes) throws(LinkError) {
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
  }

  deinit {
    if let mapping = unsafe mapping { _ = unsafe munmap(mapping.baseAddress, mapping.count) }
  }

  /// A part as others read it.
  func region(_ part: UnsafeMutableRawBufferPointer, _ section: SectionKind) -> ByteRegion {
    guard let base = unsafe part.baseAddress else { return ByteRegion(emptyIn: section) }
    return unsafe ByteRegion(base: base, count: part.count, section: section)
  }
}
