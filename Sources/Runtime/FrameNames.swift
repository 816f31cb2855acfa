// Frames of the stack in the terms of their modules.

import CPrecastHost
import PrecastArtifact
import PrecastLoader

/// Turns raw frames into those of a ``Backtrace``; remembers the last artifact, since neighbours are mostly of one module.
struct FrameNames {
  private var artifact: LoadedArtifact?
  private var moduleName: String?

  mutating func frame(_ raw: precast_frame) -> Trap.Frame {
    let pc = UInt(raw.pc)
    // A return address may be one past the text's end; the call before it never is.
    let inside = raw.is_return_address ? pc &- 1 : pc
    if artifact.map({ inside &- $0.textBase >= UInt($0.textSize) }) ?? true {
      artifact = LoadedArtifact.containing(pc: inside)
      moduleName = artifact?.moduleName
    }
    let location = artifact?.location(of: pc, isReturnAddress: raw.is_return_address)
    return Backtrace.Frame(
      location, of: artifact, moduleName: moduleName, depth: Int(raw.activation_depth))
  }
}

extension LoadedArtifact {
  /// The module's name, from the name section.
  var moduleName: String? { (try? artifact.names()?.moduleName()) ?? nil }

  /// A function's name, from the name section.
  func functionName(_ index: Int) -> String? { (try? artifact.names()?.function(index)) ?? nil }

  /// Bytes of guard that the code relies on behind each memory.
  var guardSize: Int { Int(clamping: header.record.settings.memoryGuardSize) }
}
