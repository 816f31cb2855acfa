// What the runtime asks of a loaded artifact, with its errors in the runtime's terms.
//
// The reader checks each row as it is read, so any question can fail on a damaged file. Here such a failure becomes a
// `RuntimeError` of kind `damagedArtifact`, so that the rest of the runtime has one error type to pass on.

import PrecastArtifact
import PrecastLoader
import PrecastWasm

/// Runs a reader and turns its error into the runtime's.
@inline(__always)
func reading<R>(_ body: () throws(ArtifactError) -> R) throws(RuntimeError) -> R {
  do {
    return try body()
  } catch {
    throw RuntimeError(.damagedArtifact, error.description)
  }
}

extension ModuleInfo {
  /// The type of something imported.
  func externalType(_ descriptor: ImportDescriptor) throws(ArtifactError) -> ExternalType {
    switch descriptor {
    case .function(let typeIndex): .function(try type(Int(typeIndex)))
    case .table(let type): .table(type)
    case .memory(let type): .memory(type)
    case .global(let type): .global(type)
    }
  }

  /// The type of something exported.
  func externalType(_ kind: ExternalKind, _ index: Int) throws(ArtifactError) -> ExternalType {
    switch kind {
    case .function: .function(try type(try typeIndex(function: index)))
    case .table: .table(try table(index))
    case .memory: .memory(try memory(index))
    case .global: .global(try global(index).type)
    }
  }
}

extension Engine {
  /// How much of an artifact is checked when it is loaded.
  var verification: LoadedArtifact.Verification { configuration.verifiesArtifacts ? .full : .none }
}
