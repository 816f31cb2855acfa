// Damage behind the first page: found when it is met, or at load where that is asked for.

import PrecastArtifact
import Testing

@testable import PrecastLoader

@Suite struct VerifiedLoadTests {
  private func error(_ bytes: [UInt8]) -> LoadError? {
    do throws(LoadError) {
      _ = try LoadedArtifact(bytes: bytes.span.bytes, verification: .full)
      return nil
    } catch {
      return error
    }
  }

  @Test func fullVerificationAcceptsASoundArtifact() throws {
    let bytes = try TestArtifact.make()
    #expect(error(bytes) == nil)
  }

  @Test func fullVerificationRefusesDamageAnywhere() throws {
    let bytes = try TestArtifact.make()
    for place in stride(from: 0, to: bytes.count, by: 53) {
      var damaged = bytes
      damaged[place] ^= 0x20
      #expect(error(damaged) != nil, "byte \(place)")
    }
  }

  @Test func withoutItADamagedTableIsMetWhenItIsAsked() throws {
    let bytes = try TestArtifact.make()
    let sound = try LoadedArtifact(bytes: bytes.span.bytes)
    let traps = sound.header.extent(of: .traps)
    var damaged = bytes
    damaged[Int(traps.offset) + 20] ^= 1
    let loaded = try LoadedArtifact(bytes: damaged.span.bytes)
    for offset in 0..<UInt(256) {
      #expect(loaded.trapCode(at: loaded.textBase + offset) == TrapCode.damagedArtifact.rawValue)
    }
    #expect(throws: ArtifactError.self) { try loaded.artifact.trapTable() }
  }
}
