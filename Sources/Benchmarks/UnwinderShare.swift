// How much of a load, and of a drop, is the unwinder's.
//
// Loading registers unwind tables with libgcc (HostSupport/precast_unwind.c), whose list of them is searched from the start
// when one is taken out: with thousands loaded, a drop at a random place costs a walk over half of them. That is libgcc's
// doing, up to GCC 12, and its share must be told apart from ours. So this program defines the functions that are called for
// it, which come before libgcc's own in the order of symbols; each adds its time to an account of the thread, and calls
// libgcc's. Where the calls are not made, or go elsewhere, the share is 0.

import Glibc

/// A thread's account of time spent registering unwind tables.
enum UnwinderShare {
  /// The key of each thread's account, which is a `UInt64` of nanoseconds, and libgcc's functions.
  fileprivate static let key: pthread_key_t = {
    var key = pthread_key_t()
    unsafe pthread_key_create(&key, nil)
    return key
  }()

  /// Opens an account for this thread; it lives until `close`.
  static func open() {
    let account = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    unsafe account.initialize(to: 0)
    unsafe pthread_setspecific(key, account)
  }

  /// Closes this thread's account.
  static func close() {
    unsafe account?.deallocate()
    pthread_setspecific(key, nil)
  }

  /// Nanoseconds since the last question, on this thread.
  static func take() -> UInt64 {
    guard let account = unsafe account else { return 0 }
    defer { unsafe account.pointee = 0 }
    return unsafe account.pointee
  }

  private static var account: UnsafeMutablePointer<UInt64>? {
    // Nothing else is ever kept under this key.
    unsafe pthread_getspecific(key)?.assumingMemoryBound(to: UInt64.self)
  }

  fileprivate typealias Function = @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?

  /// libgcc's function of a name: the next one in the order of symbols (`RTLD_NEXT`).
  fileprivate static func next(_ name: String) -> Function? {
    guard let address = unsafe dlsym(UnsafeMutableRawPointer(bitPattern: -1), name) else { return nil }
    // All of these take a pointer; what they return, if anything, is passed on.
    return unsafe unsafeBitCast(address, to: Function.self)
  }

  fileprivate static func timed(
    _ function: Function?, _ argument: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    guard let function = unsafe function else { return nil }
    let start = now()
    defer { if let account = unsafe account { unsafe account.pointee += now() - start } }
    return unsafe function(argument)
  }
}

// Looked up once; pointers to code that stays.
private let registerFrame = unsafe UnwinderShare.next("__register_frame")
private let registerFrameTable = unsafe UnwinderShare.next("__register_frame_table")
private let deregisterFrame = unsafe UnwinderShare.next("__deregister_frame")

/// libgcc's function of that name, timed.
@_cdecl("__register_frame")
public func timedRegisterFrame(_ begin: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  unsafe UnwinderShare.timed(registerFrame, begin)
}

/// libgcc's function of that name, timed.
@_cdecl("__register_frame_table")
public func timedRegisterFrameTable(_ begin: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  unsafe UnwinderShare.timed(registerFrameTable, begin)
}

/// libgcc's function of that name, timed.
@_cdecl("__deregister_frame")
public func timedDeregisterFrame(_ begin: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  unsafe UnwinderShare.timed(deregisterFrame, begin)
}
