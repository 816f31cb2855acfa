// Preview 1 as imports of a module.
//
// One table says it all: a function's name, its parameters, and how they reach the method that does the
// work. Every function returns one `i32`, the errno; `proc_exit` alone does not return. The functions are
// raw host functions: they read their arguments from the slots in which the trampoline left them, so a
// call allocates nothing on its way to the kernel.

internal import Glibc
public import PrecastRuntime
internal import PrecastWasm

extension WASI {
  /// Adds all functions of preview 1 to `imports`, as `wasi_snapshot_preview1` and, for older programs,
  /// as `wasi_unstable`.
  ///
  /// They act on the memory 0 of the instance that calls them. After `proc_exit`, a call into the guest
  /// throws `WASIExit`.
  ///
  /// With `module`, only those functions that it imports are made, which is much the faster way to many
  /// short-lived stores.
  public func define(in imports: inout Imports, store: Store, for module: Module? = nil) {
    if let module {
      for item in module.imports {
        guard let snapshot = Snapshot(moduleName: item.module), let call = HostCall.byName[item.name],
          call.exists(in: snapshot)
        else { continue }
        imports.define(module: item.module, name: item.name, call.function(self, store, snapshot))
      }
      return
    }
    for snapshot in [Snapshot.preview1, .unstable] {
      for call in HostCall.table where call.exists(in: snapshot) {
        imports.define(module: snapshot.moduleName, name: call.name, call.function(self, store, snapshot))
      }
    }
  }
}

extension Snapshot {
  /// The name under which modules import it.
  var moduleName: String { self == .preview1 ? "wasi_snapshot_preview1" : "wasi_unstable" }

  init?(moduleName: String) {
    switch moduleName {
    case "wasi_snapshot_preview1": self = .preview1
    case "wasi_unstable": self = .unstable
    default: return nil
    }
  }
}

/// One function of preview 1.
private struct HostCall: Sendable {
  typealias Body = @Sendable (WASI, GuestMemory, borrowing ValueSlots, Snapshot) throws(WASIErrno) -> Void

  let name: String
  let type: FunctionType
  let body: Body

  /// `parameters` has a letter for each: `i` for `i32`, `I` for `i64`.
  init(_ name: String, _ parameters: String, _ body: @escaping Body) {
    self.name = name
    type = FunctionType(parameters: parameters.utf8.map { $0 == UInt8(ascii: "i") ? .i32 : .i64 }, results: [.i32])
    self.body = body
  }

  func function(_ wasi: WASI, _ store: Store, _ snapshot: Snapshot) -> Function {
    if name == "proc_exit" {
      return Function(store: store, type: FunctionType(parameters: [.i32], results: [])) { _, arguments in
        guard case .i32(let code) = arguments[0] else { return [] }
        throw WASIExit(code: code)
      }
    }
    let body = body
    return Function(
      store: store, type: type,
      raw: { caller, slots in
        do throws(WASIErrno) {
          try body(wasi, GuestMemory(of: caller), slots, snapshot)
          slots[u32: 0] = UInt32(WASIErrno.success.rawValue)
        } catch {
          slots[u32: 0] = UInt32(error.rawValue)
        }
      })
  }

  /// `sock_accept` was added to preview 1 later.
  func exists(in snapshot: Snapshot) -> Bool { snapshot == .preview1 || name != "sock_accept" }

  static let byName = Dictionary(uniqueKeysWithValues: table.map { ($0.name, $0) })

  static let table: [HostCall] = [
    HostCall("args_get", "ii") { (w, m, s, _) throws(WASIErrno) in
      try w.arguments.get(m, pointers: s[u32: 0], buffer: s[u32: 1])
    },
    HostCall("args_sizes_get", "ii") { (w, m, s, _) throws(WASIErrno) in
      try w.arguments.sizes(m, count: s[u32: 0], size: s[u32: 1])
    },
    HostCall("environ_get", "ii") { (w, m, s, _) throws(WASIErrno) in
      try w.environment.get(m, pointers: s[u32: 0], buffer: s[u32: 1])
    },
    HostCall("environ_sizes_get", "ii") { (w, m, s, _) throws(WASIErrno) in
      try w.environment.sizes(m, count: s[u32: 0], size: s[u32: 1])
    },
    HostCall("clock_res_get", "ii") { (w, m, s, _) throws(WASIErrno) in
      try w.clockResGet(m, s[u32: 0], s[u32: 1])
    },
    HostCall("clock_time_get", "iIi") { (w, m, s, _) throws(WASIErrno) in
      try w.clockTimeGet(m, s[u32: 0], s[u32: 2])
    },
    HostCall("fd_advise", "iIIi") { (w, _, s, _) throws(WASIErrno) in
      try w.fdAdvise(s[u32: 0], offset: s[u64: 1], length: s[u64: 2], advice: s[u32: 3])
    },
    HostCall("fd_allocate", "iII") { (w, _, s, _) throws(WASIErrno) in
      try w.fdAllocate(s[u32: 0], offset: s[u64: 1], length: s[u64: 2])
    },
    HostCall("fd_close", "i") { (w, _, s, _) throws(WASIErrno) in try w.fdClose(s[u32: 0]) },
    HostCall("fd_datasync", "i") { (w, _, s, _) throws(WASIErrno) in try w.fdDatasync(s[u32: 0]) },
    HostCall("fd_fdstat_get", "ii") { (w, m, s, _) throws(WASIErrno) in try w.fdFdstatGet(m, s[u32: 0], s[u32: 1]) },
    HostCall("fd_fdstat_set_flags", "ii") { (w, _, s, _) throws(WASIErrno) in
      try w.fdFdstatSetFlags(s[u32: 0], s[u32: 1])
    },
    HostCall("fd_fdstat_set_rights", "iII") { (w, _, s, _) throws(WASIErrno) in
      try w.fdFdstatSetRights(s[u32: 0], base: s[u64: 1], inheriting: s[u64: 2])
    },
    HostCall("fd_filestat_get", "ii") { (w, m, s, snapshot) throws(WASIErrno) in
      try w.fdFilestatGet(m, s[u32: 0], s[u32: 1], snapshot)
    },
    HostCall("fd_filestat_set_size", "iI") { (w, _, s, _) throws(WASIErrno) in
      try w.fdFilestatSetSize(s[u32: 0], s[u64: 1])
    },
    HostCall("fd_filestat_set_times", "iIIi") { (w, _, s, _) throws(WASIErrno) in
      try w.fdFilestatSetTimes(s[u32: 0], access: s[u64: 1], modification: s[u64: 2], s[u32: 3])
    },
    HostCall("fd_pread", "iiiIi") { (w, m, s, _) throws(WASIErrno) in
      try w.fdPread(m, s[u32: 0], s[u32: 1], s[u32: 2], offset: s[u64: 3], s[u32: 4])
    },
    HostCall("fd_prestat_get", "ii") { (w, m, s, _) throws(WASIErrno) in
      try w.fdPrestatGet(m, s[u32: 0], s[u32: 1])
    },
    HostCall("fd_prestat_dir_name", "iii") { (w, m, s, _) throws(WASIErrno) in
      try w.fdPrestatDirName(m, s[u32: 0], s[u32: 1], s[u32: 2])
    },
    HostCall("fd_pwrite", "iiiIi") { (w, m, s, _) throws(WASIErrno) in
      try w.fdPwrite(m, s[u32: 0], s[u32: 1], s[u32: 2], offset: s[u64: 3], s[u32: 4])
    },
    HostCall("fd_read", "iiii") { (w, m, s, _) throws(WASIErrno) in
      try w.fdRead(m, s[u32: 0], s[u32: 1], s[u32: 2], s[u32: 3])
    },
    HostCall("fd_readdir", "iiiIi") { (w, m, s, _) throws(WASIErrno) in
      try w.fdReaddir(m, s[u32: 0], s[u32: 1], s[u32: 2], cookie: s[u64: 3], s[u32: 4])
    },
    HostCall("fd_renumber", "ii") { (w, _, s, _) throws(WASIErrno) in try w.fdRenumber(s[u32: 0], s[u32: 1]) },
    HostCall("fd_seek", "iIii") { (w, m, s, snapshot) throws(WASIErrno) in
      try w.fdSeek(m, s[u32: 0], offset: s[i64: 1], whence: s[u32: 2], s[u32: 3], snapshot)
    },
    HostCall("fd_sync", "i") { (w, _, s, _) throws(WASIErrno) in try w.fdSync(s[u32: 0]) },
    HostCall("fd_tell", "ii") { (w, m, s, _) throws(WASIErrno) in try w.fdTell(m, s[u32: 0], s[u32: 1]) },
    HostCall("fd_write", "iiii") { (w, m, s, _) throws(WASIErrno) in
      try w.fdWrite(m, s[u32: 0], s[u32: 1], s[u32: 2], s[u32: 3])
    },
    HostCall("path_create_directory", "iii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathCreateDirectory(m, s[u32: 0], s[u32: 1], s[u32: 2])
    },
    HostCall("path_filestat_get", "iiiii") { (w, m, s, snapshot) throws(WASIErrno) in
      try w.pathFilestatGet(m, s[u32: 0], lookup: s[u32: 1], s[u32: 2], s[u32: 3], s[u32: 4], snapshot)
    },
    HostCall("path_filestat_set_times", "iiiiIIi") { (w, m, s, _) throws(WASIErrno) in
      try w.pathFilestatSetTimes(
        m, s[u32: 0], lookup: s[u32: 1], s[u32: 2], s[u32: 3], access: s[u64: 4], modification: s[u64: 5], s[u32: 6])
    },
    HostCall("path_link", "iiiiiii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathLink(
        m, s[u32: 0], lookup: s[u32: 1], s[u32: 2], s[u32: 3], s[u32: 4], s[u32: 5], s[u32: 6])
    },
    HostCall("path_open", "iiiiiIIii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathOpen(
        m, s[u32: 0], lookup: s[u32: 1], s[u32: 2], s[u32: 3], openFlags: s[u32: 4], base: s[u64: 5],
        inheriting: s[u64: 6], flags: s[u32: 7], s[u32: 8])
    },
    HostCall("path_readlink", "iiiiii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathReadlink(m, s[u32: 0], s[u32: 1], s[u32: 2], s[u32: 3], s[u32: 4], s[u32: 5])
    },
    HostCall("path_remove_directory", "iii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathRemoveDirectory(m, s[u32: 0], s[u32: 1], s[u32: 2])
    },
    HostCall("path_rename", "iiiiii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathRename(m, s[u32: 0], s[u32: 1], s[u32: 2], s[u32: 3], s[u32: 4], s[u32: 5])
    },
    HostCall("path_symlink", "iiiii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathSymlink(m, s[u32: 0], s[u32: 1], s[u32: 2], s[u32: 3], s[u32: 4])
    },
    HostCall("path_unlink_file", "iii") { (w, m, s, _) throws(WASIErrno) in
      try w.pathUnlinkFile(m, s[u32: 0], s[u32: 1], s[u32: 2])
    },
    HostCall("poll_oneoff", "iiii") { (w, m, s, snapshot) throws(WASIErrno) in
      try w.pollOneoff(m, s[u32: 0], s[u32: 1], s[u32: 2], s[u32: 3], snapshot)
    },
    HostCall("proc_exit", "i") { (_, _, _, _) throws(WASIErrno) in },
    HostCall("proc_raise", "i") { (w, _, _, _) throws(WASIErrno) in try w.procRaise() },
    HostCall("random_get", "ii") { (w, m, s, _) throws(WASIErrno) in try w.randomGet(m, s[u32: 0], s[u32: 1]) },
    HostCall("sched_yield", "") { (w, _, _, _) throws(WASIErrno) in w.schedYield() },
    HostCall("sock_accept", "iii") { (w, m, s, _) throws(WASIErrno) in
      try w.sockAccept(m, s[u32: 0], flags: s[u32: 1], s[u32: 2])
    },
    HostCall("sock_recv", "iiiiii") { (w, m, s, _) throws(WASIErrno) in
      try w.sockRecv(m, s[u32: 0], s[u32: 1], s[u32: 2], flags: s[u32: 3], s[u32: 4], s[u32: 5])
    },
    HostCall("sock_send", "iiiii") { (w, m, s, _) throws(WASIErrno) in
      try w.sockSend(m, s[u32: 0], s[u32: 1], s[u32: 2], flags: s[u32: 3], s[u32: 4])
    },
    HostCall("sock_shutdown", "ii") { (w, _, s, _) throws(WASIErrno) in
      try w.sockShutdown(s[u32: 0], s[u32: 1])
    },
  ]
}

extension GuestMemory {
  /// The memory 0 of the calling instance; an empty one where it has none, so that every pointer is a
  /// `fault`.
  init(of caller: borrowing Caller) {
    // The base of a memory never moves and its bytes stay mapped while the store lives, which is longer
    // than the call; so the pointer may leave the closure for the length of the call.
    let bytes = unsafe caller.memoryBytes
    if let base = bytes.baseAddress {
      unsafe self.init(base: base, count: UInt64(bytes.count))
    } else {
      unsafe self.init(base: Self.nothing, count: 0)
    }
  }

  /// Where an empty memory is: no byte of it is ever touched.
  private static var nothing: UnsafeMutableRawPointer { unsafe UnsafeMutableRawPointer(bitPattern: 16)! }
}
