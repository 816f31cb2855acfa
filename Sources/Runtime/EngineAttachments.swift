// What the layers above keep with an engine.
//
// The runtime knows nothing of compilers and caches, yet some of what they keep has an engine's life and is one per engine.
// So an engine holds objects for them, one of each class, without knowing what they are.

import Synchronization

/// Objects that live as long as an engine, at most one of each class.
package final class EngineAttachments: Sendable {
  private let objects = Mutex<[ObjectIdentifier: any AnyObject & Sendable]>([:])

  /// The object of a class; made by the first who asks.
  package func object<T: AnyObject & Sendable>(of type: T.Type = T.self, orMake make: @Sendable () -> T) -> T {
    objects.withLock { objects in
      if let known = objects[ObjectIdentifier(type)] as? T { return known }
      let made = make()
      objects[ObjectIdentifier(type)] = made
      return made
    }
  }
}
