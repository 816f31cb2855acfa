// Runs the directives of one script, each module by way of a file.
//
// What is skipped is a module, and with it the directives that depend on it: those that name it, that come after it
// without naming another, and modules that import what it was registered as. A module is skipped for one reason only: the
// decoder says that it uses a proposal which is not supported. So that this cannot hide a mistake, another validator has
// the last word: a module that it accepts with our features alone must not be refused (`SpecRunner.isWithinFeatures`).
//
// A module that is skipped may have been meant to change what it imports: a memory, a table, a global. A directive that
// looks at what such a module imports, and does not hold, is skipped as well.

import Foundation
import Precast
import PrecastArtifact
import PrecastMachineCode
import PrecastRuntime
import PrecastWasm
import TestSupport

/// What became of the directives of a file, or of all files.
struct SpecTally: Equatable {
  var passed = 0
  var skipped: [String: Int] = [:]
  var failures: [String] = []

  static func += (left: inout SpecTally, right: SpecTally) {
    left.passed += right.passed
    left.skipped.merge(right.skipped, uniquingKeysWith: +)
    left.failures += right.failures
  }

  /// `12 passed, 3 skipped (2 simd, 1 text format), 0 failed`
  var summary: String {
    let reasons = skipped.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.value) \($0.key)" }
    let total = skipped.values.reduce(0, +)
    let detail = reasons.isEmpty ? "" : " (\(reasons.joined(separator: ", ")))"
    return "\(passed) passed, \(total) skipped\(detail), \(failures.count) failed"
  }
}

final class SpecRunner {
  /// What a name, or the latest module, stands for.
  private enum Subject {
    case instance(Instance)
    case skipped(String)
    case failed
  }

  private struct Skip: Error { var reason: String }

  private let name: String
  private let folder: URL
  private let path: RealPath
  private let store: Store
  private var imports: Imports
  private var current: Subject?
  private var named: [String: Subject] = [:]
  private var registeredSkips: [String: String] = [:]
  /// What instances are registered as, and those that a skipped module was to change.
  private var registered: [String: Instance] = [:]
  private var unchanged: [(instance: Instance, reason: String)] = []
  private var definitions: [String: Result<Module, any Error>] = [:]
  private var lastDefinition: Result<Module, any Error>?
  private var externs: [String: ExternRef] = [:]
  private(set) var tally = SpecTally()
  /// Traps that were expected, and what was on the stack, without places in the text.
  private(set) var traps: [String] = []

  /// The artifacts that were made on the way.
  var artifacts: [URL] { path.artifacts }

  /// - Parameters:
  ///   - name: of the script, for messages.
  ///   - folder: where its binaries are.
  ///   - way: what its modules are compiled to.
  ///   - machine: what they are compiled for.
  init(name: String, folder: URL, way: RealPath.Way = .artifact, machine: RealPath.Machine = .native) throws {
    self.name = name
    self.folder = folder
    path = try RealPath(way: way, machine: machine)
    store = Store(engine: path.engine)
    imports = try spectest(store)
  }

  /// Runs all directives, with texts of artifacts laid out as is said.
  func run(_ script: SpecScript, layout: TextLayoutTesting = TextLayoutTesting()) {
    path.layout = layout
    for command in script.commands {
      do {
        try run(command)
        tally.passed += 1
      } catch let skip as Skip {
        tally.skipped[skip.reason, default: 0] += 1
      } catch {
        if let reason = reasonForNoChange(command) {
          tally.skipped["after \(reason)", default: 0] += 1
          continue
        }
        tally.failures.append("\(name).wast:\(command.line): \(command.type): \(error)")
      }
    }
  }

  /// The proposal that keeps the instance which a directive looks at from having changed, if there is one.
  private func reasonForNoChange(_ command: SpecCommand) -> String? {
    guard command.action != nil, let instance = try? instance(of: command) else { return nil }
    return unchanged.first { $0.instance == instance }?.reason
  }

  // MARK: Directives

  private func run(_ command: SpecCommand) throws {
    switch command.type {
    case "module": try defineAndInstantiate(command)
    case "module_definition":
      let result = Result { try self.compile(command) }
      lastDefinition = result
      if let name = command.name { definitions[name] = result }
      _ = try result.get()
    case "module_instance":
      let definition = command.module.flatMap { definitions[$0] } ?? lastDefinition
      guard let definition else { throw SpecError("there is no module \(command.module ?? "")") }
      try makeCurrent(command.instance) { try self.instantiate(definition.get()) }
    case "register": try register(command)
    case "action": _ = try perform(command)
    case "assert_return": try assertReturn(command)
    case "assert_trap", "assert_exhaustion": try assertTrap(command)
    case "assert_exception":
      _ = try instance(of: command)
      throw SpecError("there are no exceptions yet")
    case "assert_malformed": try assertRefused(command, as: .malformed)
    case "assert_invalid": try assertRefused(command, as: .invalid)
    case "assert_unlinkable": try assertUnlinkable(command)
    case "assert_uninstantiable": try assertUninstantiable(command)
    default: throw SpecError("unknown directive")
    }
  }

  private func defineAndInstantiate(_ command: SpecCommand) throws {
    try makeCurrent(command.name) { try self.instantiate(self.compile(command)) }
  }

  /// Instantiates, and makes what comes of it the latest module, and what `name` stands for.
  private func makeCurrent(_ name: String?, _ make: () throws -> Instance) throws {
    func set(_ subject: Subject) {
      current = subject
      if let name { named[name] = subject }
    }
    do {
      set(.instance(try make()))
    } catch let skip as Skip {
      set(.skipped(skip.reason))
      throw skip
    } catch {
      set(.failed)
      throw error
    }
  }

  private func register(_ command: SpecCommand) throws {
    guard let alias = command.as else { throw SpecError("no name") }
    do {
      let instance = try instance(command.name)
      imports.define(module: alias, instance)
      registered[alias] = instance
      registeredSkips[alias] = nil
    } catch let skip as Skip {
      registered[alias] = nil
      registeredSkips[alias] = skip.reason
      throw skip
    }
  }

  private func assertReturn(_ command: SpecCommand) throws {
    let results = try perform(command)
    let expected = command.expected ?? []
    guard results.count == expected.count, zip(results, expected).allSatisfy({ $1.matches($0) }) else {
      throw SpecError("\(describe(command.action)) gives \(results), expected \(expected.map(\.description))")
    }
  }

  private func assertTrap(_ command: SpecCommand) throws {
    let subject = try instance(of: command)
    do {
      let results = try perform(command.action, on: subject)
      throw SpecError("\(describe(command.action)) gives \(results), expected a trap: \(command.text ?? "")")
    } catch let trap as Trap {
      try check(trap, is: command.text)
    }
  }

  private func assertRefused(_ command: SpecCommand, as kind: WasmError.Kind) throws {
    guard command.binary != nil else { throw Skip(reason: "text format") }
    do {
      _ = try compile(command)
    } catch let skip as Skip where skip.reason == Proposal.componentModel.rawValue && kind == .malformed {
      // To the core specification a component is a module of an unknown version; here it is called by its name.
      return
    } catch let error as WasmError {
      guard error.kind == kind else { throw SpecError("expected \(kind) (\(command.text ?? "")), got \(error)") }
      return
    }
    throw SpecError("accepted, expected \(kind): \(command.text ?? "")")
  }

  private func assertUnlinkable(_ command: SpecCommand) throws {
    let module = try compile(command)
    do {
      _ = try instantiate(module)
    } catch let error as RuntimeError where error.kind == .unknownImport || error.kind == .incompatibleImport {
      let expected = error.kind == .unknownImport ? "unknown import" : "incompatible import type"
      guard command.text == expected else { throw SpecError("expected \(command.text ?? ""), got \(error)") }
      return
    }
    throw SpecError("linked, expected \(command.text ?? "")")
  }

  private func assertUninstantiable(_ command: SpecCommand) throws {
    let module = try compile(command)
    do {
      _ = try instantiate(module)
    } catch let trap as Trap {
      return try check(trap, is: command.text)
    }
    throw SpecError("instantiated, expected \(command.text ?? "")")
  }

  /// The suite's wording for a trap. It says which element was uninitialized in one place.
  private func check(_ trap: Trap, is text: String?) throws {
    let frames = trap.frames.map { "\($0.functionIndex ?? -1)+\($0.wasmOffset ?? -1)" }
    traps.append("\(trap.code) \(trap.isTruncated) \(frames.joined(separator: " "))")
    let name = trap.code.message
    guard let text, text == name || text.hasPrefix(name + " ") else {
      throw SpecError("trapped with \(name), expected \(text ?? "")")
    }
  }

  // MARK: Modules

  private func compile(_ command: SpecCommand) throws -> Module {
    guard let binary = command.binary else { throw Skip(reason: "text format") }
    let file = folder.appending(path: binary)
    do {
      return try path.module(wasm: file)
    } catch let error as WasmError {
      guard case .unsupported(let proposal) = error.kind else { throw error }
      if Self.isWithinFeatures(file) { throw SpecError("refused for no reason: \(error)") }
      noteUnchanged(file, reason: proposal.rawValue)
      throw Skip(reason: proposal.rawValue)
    }
  }

  private func instantiate(_ module: Module) throws -> Instance {
    for imported in module.imports {
      if let reason = registeredSkips[imported.module] { throw Skip(reason: reason) }
    }
    return try module.instantiate(store: store, imports: imports)
  }

  /// Whether another validator accepts a binary with the features that are supported, and no other.
  private static func isWithinFeatures(_ file: URL) -> Bool {
    guard let tools = Repository.wasmTools else { return false }
    let result = try? TestSupport.run(tools, ["validate", "--features=wasm2,-simd,extended-const", file.path])
    return result?.status == 0
  }

  /// Notes what a skipped module imports. Its binary cannot be decoded here, but printed by another tool.
  private func noteUnchanged(_ file: URL, reason: String) {
    guard !registered.isEmpty, let tools = Repository.wasmTools,
      let text = try? TestSupport.run(tools, ["print", file.path]).outputText
    else { return }
    for line in text.split(separator: "\n") where line.hasPrefix("  (import \"") && !line.contains("(func") {
      let module = line.dropFirst(11).prefix { $0 != "\"" }
      if let instance = registered[String(module)] { unchanged.append((instance, reason)) }
    }
  }

  private func instance(_ name: String?) throws -> Instance {
    guard let subject = name.map({ named[$0] }) ?? current else { throw SpecError("there is no module \(name ?? "")") }
    switch subject {
    case .instance(let instance): return instance
    case .skipped(let reason): throw Skip(reason: reason)
    case .failed: throw SpecError("its module has failed")
    }
  }

  private func instance(of command: SpecCommand) throws -> Instance { try instance(command.action?.module) }

  // MARK: Actions

  private func perform(_ command: SpecCommand) throws -> [Value] {
    try perform(command.action, on: instance(of: command))
  }

  private func perform(_ action: SpecAction?, on instance: Instance) throws -> [Value] {
    guard let action else { throw SpecError("no action") }
    if action.type == "get" {
      guard let global = instance.exports[global: action.field] else { throw SpecError("no global \(action.field)") }
      return [global.value]
    }
    guard let function = instance.exports[function: action.field] else {
      throw SpecError("no function \(action.field)")
    }
    return try function.invoke(try (action.args ?? []).map(value))
  }

  private func value(_ argument: SpecValue) throws -> Value {
    let text = argument.text ?? ""
    switch argument.type {
    case "i32": if let bits = SpecValue.bits(text) { return .i32(UInt32(truncatingIfNeeded: bits)) }
    case "i64": if let bits = SpecValue.bits(text) { return .i64(bits) }
    case "f32": if let bits = SpecValue.bits(text) { return .f32(UInt32(truncatingIfNeeded: bits)) }
    case "f64": if let bits = SpecValue.bits(text) { return .f64(bits) }
    case "funcref" where text == "null": return .funcref(nil)
    case "externref" where text == "null": return .externref(nil)
    case "externref":
      // The same number is the same reference.
      if let known = externs[text] { return .externref(known) }
      let made = ExternRef(store: store, text)
      externs[text] = made
      return .externref(made)
    default: break
    }
    throw SpecError("an argument of type \(argument.type), \(text)")
  }

  private func describe(_ action: SpecAction?) -> String {
    guard let action else { return "" }
    return "\(action.field)(\((action.args ?? []).map(\.description).joined(separator: ", ")))"
  }
}

extension SpecValue: CustomStringConvertible {
  var description: String {
    if type == "either" { return alternatives.map(\.description).joined(separator: " or ") }
    return "\(type):\(text ?? "any")"
  }

  /// The bits of a number, which may stand there as signed or as unsigned.
  static func bits(_ text: String) -> UInt64? {
    UInt64(text) ?? Int64(text).map { UInt64(bitPattern: $0) }
  }

  /// Whether a value is what this stands for.
  func matches(_ value: Value) -> Bool {
    switch (type, value) {
    case ("either", _): alternatives.contains { $0.matches(value) }
    case ("i32", .i32(let bits)): Self.bits(text ?? "").map { UInt32(truncatingIfNeeded: $0) } == bits
    case ("i64", .i64(let bits)): Self.bits(text ?? "") == bits
    case ("f32", .f32(let bits)): matches(float: UInt64(bits), exponent: 0x7F80_0000, quiet: 0x40_0000, sign: 1 << 31)
    case ("f64", .f64(let bits)):
      matches(float: bits, exponent: 0x7FF0_0000_0000_0000, quiet: 0x8_0000_0000_0000, sign: 1 << 63)
    case ("funcref", .funcref(let function)): (text == "null") == (function == nil)
    case ("refnull", .funcref(let function)): function == nil
    case ("externref", .externref(let reference)):
      if let text { text == "null" ? reference == nil : reference?.value as? String == text } else { reference != nil }
    case ("refnull", .externref(let reference)): reference == nil
    default: false
    }
  }

  /// Spec: a canonical NaN has only the quiet bit set in its fraction; an arithmetic one has it set (Core 4.3.3).
  private func matches(float bits: UInt64, exponent: UInt64, quiet: UInt64, sign: UInt64) -> Bool {
    switch text {
    case "nan:canonical": bits & ~sign == exponent | quiet
    case "nan:arithmetic": bits & (exponent | quiet) == exponent | quiet
    case let number?: Self.bits(number) == bits
    case nil: false
    }
  }
}
