// What the layers above find out of a loaded artifact, and keep with it.
//
// Reading a guest's DWARF takes a library and some memory, and most artifacts are never asked for it. So a loaded artifact has
// one word for an object that somebody above may put there, once, and tells that object before the mapping goes.

/// Kept with a loaded artifact by a layer above; see `LoadedArtifact.companion`.
open class ArtifactCompanion: @unchecked Sendable {
  /// Makes one.
  public init() {}

  /// The artifact's bytes are about to be unmapped; nobody asks for anything any more.
  open func artifactWillUnmap() {}
}
