// Which locals live in registers, and where their values matter.
//
// All registers are caller-saved, so a local in a register is saved before a call if it has changed,
// and loaded again when next used. Three things make that cheap, all found here in two sweeps over the
// decoded body: the hottest locals get the registers; what a loop uses and assigns, so that its header
// can fix a state that the back edge meets without work; and where each of them is still needed
// (liveness), so that no dead value is saved.
//
// Liveness goes backwards once. Forward labels are exact. What is live at a loop's header is taken to be
// everything that the loop uses and everything that is live where the loop can leave to: a superset, so
// never wrong, and the loop is not visited twice.

import PrecastMachineCode
import PrecastWasm

/// A set of registers that hold locals: bit n is general register n, bit 16+n is vector register n.
typealias RegisterSet = UInt32

/// No register.
let noBit: UInt8 = 0xFF

/// What a loop does with the locals that live in registers.
struct LoopSummary: BitwiseCopyable {
  var used: RegisterSet = 0
  var assigned: RegisterSet = 0
  /// Whether there is a call in it, at any depth.
  var hasCall = false
  /// Whether a call stands directly in it, in no inner block.
  var hasDirectCall = false
}

/// The control structure, as the sweeps see it.
struct AnalysisScope: BitwiseCopyable {
  var opener: UInt32
  /// Index of the loop's summary, or `UInt32.max`.
  var loop: UInt32
  var labelLive: RegisterSet = 0
  var cumulativeLive: RegisterSet = 0
  var elseLive: RegisterSet = 0
}

/// Results of the sweeps over one body; reused from body to body.
struct LocalAnalysis: ~Copyable {
  /// For each operator: at openers, the locals live at the label; at calls, those live after; at
  /// `end` and `else`, the index of the opener.
  var info = FlatBuffer<UInt32>(capacity: 1024)
  /// Loops in order of their openers.
  var loops = FlatBuffer<LoopSummary>(capacity: 16)
  /// Locals live at the start of the function.
  var liveAtEntry: RegisterSet = 0
  /// Whether anything in the body pushes on the machine stack or calls.
  var needsFrame = false
  /// Whether there is a call that leaves the instance: through an import or a table.
  var leavesInstance = false

  private var scopes = FlatBuffer<AnalysisScope>(capacity: 64)

  static func isCall(_ opcode: Opcode) -> Bool {
    switch opcode {
    case .call, .callIndirect, .memoryGrow, .memoryInit, .dataDrop, .memoryCopy, .memoryFill, .tableInit,
      .elemDrop, .tableCopy, .tableGrow, .tableFill, .refFunc:
      true
    default: false
    }
  }

  /// Sweeps over `ops`; `bits` gives the register bit of each local.
  mutating func run(
    _ ops: borrowing OperatorBuffer, importedFunctions: Int, bits: borrowing FlatBuffer<LocalHome>
  ) {
    info.removeAll()
    info.fill(with: 0, to: ops.count)
    loops.removeAll()
    scopes.removeAll()
    needsFrame = false
    leavesInstance = false
    forward(ops, importedFunctions: importedFunctions, bits: bits)
    backward(ops, bits: bits)
  }

  private mutating func forward(
    _ ops: borrowing OperatorBuffer, importedFunctions: Int, bits: borrowing FlatBuffer<LocalHome>
  ) {
    scopes.append(AnalysisScope(opener: .max, loop: .max))
    var currentLoop = UInt32.max
    for i in 0..<ops.count {
      let op = ops[i]
      switch op.opcode {
      case .localGet:
        let bit = bits[Int(op.a)].bit
        if bit != noBit, currentLoop != .max { loops[Int(currentLoop)].used |= 1 << UInt32(bit) }
      case .localSet, .localTee:
        let bit = bits[Int(op.a)].bit
        if bit != noBit, currentLoop != .max {
          loops[Int(currentLoop)].used |= 1 << UInt32(bit)
          loops[Int(currentLoop)].assigned |= 1 << UInt32(bit)
        }
      case .block, .if:
        scopes.append(AnalysisScope(opener: UInt32(i), loop: .max))
      case .loop:
        scopes.append(AnalysisScope(opener: UInt32(i), loop: UInt32(loops.count)))
        // Remember the enclosing loop in `labelLive`; it is set anew by the backward sweep.
        scopes[scopes.count - 1].labelLive = currentLoop
        currentLoop = UInt32(loops.count)
        // For the backward sweep, which replaces it by what is live.
        info[i] = currentLoop
        loops.append(LoopSummary())
      case .else:
        info[i] = scopes[scopes.count - 1].opener
      case .end:
        let scope = scopes[scopes.count - 1]
        info[i] = scope.opener
        scopes.removeLast()
        if scope.loop != .max {
          currentLoop = scope.labelLive
          if currentLoop != .max {
            let inner = loops[Int(scope.loop)]
            loops[Int(currentLoop)].used |= inner.used
            loops[Int(currentLoop)].assigned |= inner.assigned
            if inner.hasCall { loops[Int(currentLoop)].hasCall = true }
          }
        }
      case .tableGet: needsFrame = true
      default:
        guard Self.isCall(op.opcode) else { continue }
        needsFrame = true
        if op.opcode == .callIndirect || (op.opcode == .call && op.a < importedFunctions) { leavesInstance = true }
        if currentLoop != .max {
          loops[Int(currentLoop)].hasCall = true
          if scopes[scopes.count - 1].loop == currentLoop { loops[Int(currentLoop)].hasDirectCall = true }
        }
      }
    }
  }

  private mutating func backward(_ ops: borrowing OperatorBuffer, bits: borrowing FlatBuffer<LocalHome>) {
    scopes.removeAll()
    var live: RegisterSet = 0
    var i = ops.count
    while i > 0 {
      i -= 1
      let op = ops[i]
      switch op.opcode {
      case .localGet:
        let bit = bits[Int(op.a)].bit
        if bit != noBit { live |= 1 << UInt32(bit) }
      case .localSet, .localTee:
        let bit = bits[Int(op.a)].bit
        if bit != noBit { live &= ~(1 << UInt32(bit)) }
      case .end:
        let opener = info[i]
        guard opener != .max else {
          live = 0
          scopes.append(AnalysisScope(opener: opener, loop: .max))
          continue
        }
        let outer = scopes[scopes.count - 1].cumulativeLive
        if ops[Int(opener)].opcode == .loop {
          let header = loops[Int(info[Int(opener)])].used | live | outer
          scopes.append(AnalysisScope(opener: opener, loop: 0, labelLive: header, cumulativeLive: header))
          info[Int(opener)] = header
        } else {
          scopes.append(AnalysisScope(opener: opener, loop: .max, labelLive: live, cumulativeLive: outer | live))
          info[Int(opener)] = live
        }
      case .else:
        scopes[scopes.count - 1].elseLive = live
        live = scopes[scopes.count - 1].labelLive
      case .if:
        let scope = scopes[scopes.count - 1]
        live |= op.flags.contains(.hasElse) ? scope.elseLive : scope.labelLive
        scopes.removeLast()
      case .block: scopes.removeLast()
      case .loop:
        live |= scopes[scopes.count - 1].labelLive
        scopes.removeLast()
      case .br: live = label(op.a)
      case .brIf: live |= label(op.a)
      case .brTable:
        live = 0
        for k in 0..<op.b { live |= label(ops.branchTarget(op.a + k)) }
      case .return, .unreachable: live = 0
      default:
        if Self.isCall(op.opcode) { info[i] = live }
      }
    }
    liveAtEntry = live
  }

  private func label(_ depth: UInt32) -> RegisterSet { scopes[scopes.count - 1 - Int(depth)].labelLive }
}
