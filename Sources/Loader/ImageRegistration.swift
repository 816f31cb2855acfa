// Images of an artifact's data, in memories, as the signal handler knows them.
//
// A memory's initial contents are pages of the artifact's file. When the file is made shorter while it is loaded, or
// cannot be read, touching such a page is a bus error at an address inside a memory; the handler finds the
// artifact it came from through the process's map of artifacts, and needs an entry there for as long as the image is
// mapped. The entry is made when the image is mapped, not each time that an instance uses it: resetting the
// pages leaves it as it is.

import CPrecastHost

/// An image of an artifact's data, known to the signal handler as long as this object lives. Let go of it before
/// something else is mapped over the image, and before the address space is given back.
@safe
public final class ImageRegistration: Sendable {
  // Made in `init`, given back in `deinit`, otherwise not used.
  private nonisolated(unsafe) let handle: OpaquePointer

  /// Registers `start..<end`, mapped from the artifact's file; see `precast_image_register`.
  fileprivate init(_ range: Range<UInt>, of code: UnsafeMutablePointer<precast_code>) throws(LoadError) {
    var registered: OpaquePointer?
    let result = unsafe precast_image_register(UInt64(range.lowerBound), UInt64(range.upperBound), code, &registered)
    guard result == 0, let handle = unsafe registered else {
      throw .system(-result, "enter an image in the map of artifacts")
    }
    unsafe self.handle = handle
  }

  deinit { unsafe precast_image_unregister(handle) }
}

extension LoadedArtifact {
  /// Makes an image of this artifact's data at these addresses known to the signal handler. It may outlive the
  /// artifact. The range may have holes, but may not overlap with one that is registered.
  public func registerImage(_ range: Range<UInt>) throws(LoadError) -> ImageRegistration {
    try unsafe ImageRegistration(range, of: code)
  }
}
