// The cache that the command uses, opened with this user's settings.

import Precast
import PrecastCacheSettings

enum CacheFront {
  /// The cache; nil where there is no place for one.
  static func open() throws(Failure) -> ArtifactCache? {
    let configuration = try configuration()
    do throws(CacheError) {
      return try ArtifactCache(configuration, defersWork: true)
    } catch {
      if error == .noDirectory { return nil }
      throw Failure("\(error)")
    }
  }

  /// The user's settings. The file's text is only looked at where there is one.
  static func configuration() throws(Failure) -> CacheConfiguration {
    do throws(CacheSettingsError) {
      return try CacheSettings.standard()
    } catch {
      throw Failure("\(error)")
    }
  }
}
