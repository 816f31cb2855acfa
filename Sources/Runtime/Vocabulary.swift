// The words of other layers that the runtime's interface is made of.
//
// An embedder imports one module. What its signatures mention (types of values, functions, memories) is declared by the
// decoder and the loader, which the embedder should not have to know by name; so those types are given here again.

public import PrecastArtifact
public import PrecastDebugInfo
public import PrecastLoader
public import PrecastWasm

/// A value type: `i32`, `i64`, `f32`, `f64`, `v128`, `funcref`, `externref`.
public typealias ValueType = PrecastWasm.ValueType
/// What a function takes and returns.
public typealias FunctionType = PrecastWasm.FunctionType
/// The size range of a memory (pages of 64 KiB) or a table (elements).
public typealias Limits = PrecastWasm.Limits
/// The type of a linear memory.
public typealias MemoryType = PrecastWasm.MemoryType
/// The type of a table.
public typealias TableType = PrecastWasm.TableType
/// The type of a global.
public typealias GlobalType = PrecastWasm.GlobalType
/// The four kinds of imports and exports.
public typealias ExternalKind = PrecastWasm.ExternalKind
/// Why generated code stopped.
public typealias TrapCode = PrecastArtifact.TrapCode
/// Why an artifact could not be loaded.
public typealias LoadError = PrecastLoader.LoadError
/// A place in the guest's source.
public typealias SourcePosition = PrecastDebugInfo.SourcePosition
/// What is written down about modules for profilers.
public typealias ProfilingStrategy = PrecastDebugInfo.ProfilingStrategy
/// How code is made known to the process's unwinder.
public typealias UnwindRegistration = PrecastLoader.UnwindRegistration
/// An unlinked object, to be linked.
public typealias LinkableObject = PrecastLoader.LinkableObject
/// How the text of linked objects is laid out.
public typealias LinkLayout = PrecastLoader.LinkLayout
/// Objects of a C compiler, linked and loaded.
public typealias LoadedObjects = PrecastLoader.LoadedObjects
/// Finished artifacts from objects.
public typealias ObjectLinking = PrecastLoader.ObjectLinking

/// The type of something imported or exported.
///
/// Spec: Core 2.3.10, "External Types".
public enum ExternalType: Sendable, Hashable, CustomStringConvertible {
  /// A function.
  case function(FunctionType)
  /// A table.
  case table(TableType)
  /// A linear memory.
  case memory(MemoryType)
  /// A global.
  case global(GlobalType)

  /// The kind alone.
  public var kind: ExternalKind {
    switch self {
    case .function: .function
    case .table: .table
    case .memory: .memory
    case .global: .global
    }
  }

  /// In words: `function [i32] -> []`, `memory 1..2`, `table 10.. of funcref`, `global mut i32`.
  public var description: String {
    func range(_ limits: Limits) -> String { "\(limits.minimum)..\(limits.maximum.map(String.init) ?? "")" }
    return switch self {
    case .function(let type): "function \(type)"
    case .table(let type): "table \(range(type.limits)) of \(type.element)"
    case .memory(let type): "memory \(range(type.limits))"
    case .global(let type): "global \(type.isMutable ? "mut " : "")\(type.value)"
    }
  }
}
