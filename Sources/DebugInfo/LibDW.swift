// libdw, opened when it is first needed.
//
// DWARF is five versions of a large format, with every compiler's habits on top; elfutils reads them all and is kept up. But
// most processes never print a backtrace with lines, and many machines that run artifacts have no elfutils. So nothing links
// libdw: its functions are looked up by name at the first question, and where it is absent, lines are missing and nothing else.
//
// libdw is not made for threads, not even for one handle each (it keeps its last error and parts of its state in the process,
// and older versions cache lazily without locks): one lock for the whole process stands around all calls.
//
// The two structures that callers of libdw allocate, `Dwarf_Die` and `Dwarf_Attribute`, are part of its ABI since 2005; their
// sizes are all that is used of them here.

import Glibc
import Synchronization

/// libdw's functions, under their names there. All pointers are libdw's or the caller's for the time of a call.
@safe
struct LibDW: @unchecked Sendable {
  /// A `Dwarf_Die`.
  struct Die {
    var words: (UInt, UInt, UInt, UInt) = (0, 0, 0, 0)
  }

  /// A `Dwarf_Attribute`.
  struct Attribute {
    var words: (UInt, UInt, UInt) = (0, 0, 0)
  }

  typealias Pointer = UnsafeMutableRawPointer

  let elfMemory: @convention(c) (Pointer, Int) -> Pointer?
  let elfEnd: @convention(c) (Pointer) -> Int32
  let begin: @convention(c) (Pointer, Int32, Pointer?) -> Pointer?
  let end: @convention(c) (Pointer) -> Int32
  let nextUnit: @convention(c) (Pointer, UInt64, Pointer, Pointer, Pointer?, Pointer?, Pointer?) -> Int32
  let die: @convention(c) (Pointer, UInt64, Pointer) -> Pointer?
  let ranges: @convention(c) (Pointer, Int, Pointer, Pointer, Pointer) -> Int
  let tag: @convention(c) (Pointer) -> Int32
  let name: @convention(c) (Pointer) -> UnsafePointer<CChar>?
  let attribute: @convention(c) (Pointer, UInt32, Pointer) -> Pointer?
  let integratedAttribute: @convention(c) (Pointer, UInt32, Pointer) -> Pointer?
  let string: @convention(c) (Pointer) -> UnsafePointer<CChar>?
  let number: @convention(c) (Pointer, Pointer) -> Int32
  let sourceFiles: @convention(c) (Pointer, Pointer, Pointer?) -> Int32
  let fileName: @convention(c) (Pointer, Int, Pointer?, Pointer?) -> UnsafePointer<CChar>?
  let lineOfAddress: @convention(c) (Pointer, UInt64) -> Pointer?
  let lines: @convention(c) (Pointer, Pointer, Pointer) -> Int32
  let line: @convention(c) (Pointer, Int) -> Pointer?
  let lineAddress: @convention(c) (Pointer, Pointer) -> Int32
  let lineNumber: @convention(c) (Pointer, Pointer) -> Int32
  let lineColumn: @convention(c) (Pointer, Pointer) -> Int32
  let lineEndsSequence: @convention(c) (Pointer, Pointer) -> Int32
  let lineFile: @convention(c) (Pointer, Pointer?, Pointer?) -> UnsafePointer<CChar>?
  let child: @convention(c) (Pointer, Pointer) -> Int32
  let sibling: @convention(c) (Pointer, Pointer) -> Int32
  let lowPC: @convention(c) (Pointer, Pointer) -> Int32
  let dieOffset: @convention(c) (Pointer) -> UInt64

  /// Opens the library; nil where it, or one of the functions, is not there.
  private init?(_ file: String) {
    // Stays open: a library that was used is not closed safely.
    guard let handle = unsafe dlopen(file, RTLD_NOW | RTLD_LOCAL) else { return nil }
    // The types above are those of libdw.h and libelf.h, which have not changed since they came to be.
    func load<T>(_ name: String, _: T.Type = T.self) -> T? {
      guard let symbol = unsafe dlsym(handle, name) else { return nil }
      return unsafe unsafeBitCast(symbol, to: T.self)
    }
    guard let version: @convention(c) (UInt32) -> UInt32 = load("elf_version"), version(1) != 0,
      let elfMemory: @convention(c) (Pointer, Int) -> Pointer? = unsafe load("elf_memory"),
      let elfEnd: @convention(c) (Pointer) -> Int32 = unsafe load("elf_end"),
      let begin: @convention(c) (Pointer, Int32, Pointer?) -> Pointer? = unsafe load("dwarf_begin_elf"),
      let end: @convention(c) (Pointer) -> Int32 = unsafe load("dwarf_end"),
      let nextUnit: @convention(c) (Pointer, UInt64, Pointer, Pointer, Pointer?, Pointer?, Pointer?) -> Int32 =
        unsafe load("dwarf_nextcu"),
      let die: @convention(c) (Pointer, UInt64, Pointer) -> Pointer? = unsafe load("dwarf_offdie"),
      let ranges: @convention(c) (Pointer, Int, Pointer, Pointer, Pointer) -> Int = unsafe load("dwarf_ranges"),
      let tag: @convention(c) (Pointer) -> Int32 = unsafe load("dwarf_tag"),
      let name: @convention(c) (Pointer) -> UnsafePointer<CChar>? = unsafe load("dwarf_diename"),
      let attribute: @convention(c) (Pointer, UInt32, Pointer) -> Pointer? = unsafe load("dwarf_attr"),
      let integrated: @convention(c) (Pointer, UInt32, Pointer) -> Pointer? = unsafe load("dwarf_attr_integrate"),
      let string: @convention(c) (Pointer) -> UnsafePointer<CChar>? = unsafe load("dwarf_formstring"),
      let number: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_formudata"),
      let sourceFiles: @convention(c) (Pointer, Pointer, Pointer?) -> Int32 = unsafe load("dwarf_getsrcfiles"),
      let fileName: @convention(c) (Pointer, Int, Pointer?, Pointer?) -> UnsafePointer<CChar>? =
        unsafe load("dwarf_filesrc"),
      let lineOfAddress: @convention(c) (Pointer, UInt64) -> Pointer? = unsafe load("dwarf_getsrc_die"),
      let lines: @convention(c) (Pointer, Pointer, Pointer) -> Int32 = unsafe load("dwarf_getsrclines"),
      let line: @convention(c) (Pointer, Int) -> Pointer? = unsafe load("dwarf_onesrcline"),
      let lineAddress: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_lineaddr"),
      let lineNumber: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_lineno"),
      let lineColumn: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_linecol"),
      let lineEndsSequence: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_lineendsequence"),
      let lineFile: @convention(c) (Pointer, Pointer?, Pointer?) -> UnsafePointer<CChar>? = unsafe load(
        "dwarf_linesrc"),
      let child: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_child"),
      let sibling: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_siblingof"),
      let lowPC: @convention(c) (Pointer, Pointer) -> Int32 = unsafe load("dwarf_lowpc"),
      let dieOffset: @convention(c) (Pointer) -> UInt64 = unsafe load("dwarf_dieoffset")
    else { return nil }
    unsafe self.elfMemory = elfMemory
    unsafe self.elfEnd = elfEnd
    unsafe self.begin = begin
    unsafe self.end = end
    unsafe self.nextUnit = nextUnit
    unsafe self.die = die
    unsafe self.ranges = ranges
    unsafe self.tag = tag
    unsafe self.name = name
    unsafe self.attribute = attribute
    unsafe self.integratedAttribute = integrated
    unsafe self.string = string
    unsafe self.number = number
    unsafe self.sourceFiles = sourceFiles
    unsafe self.fileName = fileName
    unsafe self.lineOfAddress = lineOfAddress
    unsafe self.lines = lines
    unsafe self.line = line
    unsafe self.lineAddress = lineAddress
    unsafe self.lineNumber = lineNumber
    unsafe self.lineColumn = lineColumn
    unsafe self.lineEndsSequence = lineEndsSequence
    unsafe self.lineFile = lineFile
    unsafe self.child = child
    unsafe self.sibling = sibling
    unsafe self.lowPC = lowPC
    unsafe self.dieOffset = dieOffset
  }

  private static let library = LibDW("libdw.so.1")
  private static let lock = Mutex<Void>(())

  /// Runs `body` with the library, while nobody else uses it; nil where it is absent.
  static func use<R>(_ body: (LibDW) -> R?) -> R? {
    guard let library else { return nil }
    return lock.withLock { _ in body(library) }
  }
}
