// Slots that wait for their next instance.
//
// Reserving address space, mapping an image into it and giving both back takes several system calls, and tears down
// and builds page tables: most of what an instance costs that is made for one request. So a slot that becomes free
// is cleaned at once (it holds no pages, and nothing of its guest, while it waits) and kept with the module's image
// still mapped: the next instance of the module costs no system call. A slot is chosen in this order:
//
//  1. one that has the module's image, the one used last;
//  2. one that has nothing mapped;
//  3. while fewer than the most idle slots are waiting, a new one, so that modules which take turns keep theirs;
//  4. the one that has waited longest for another module: it is wiped and mapped anew.
//
// The lock is held to move a few links, never during a system call. Two lists go through the idle slots: all of them by
// age, and those of each module. Both are links in the slots themselves, so nothing is searched and nothing allocated.

import PrecastLoader
import Synchronization

/// How many instances an engine holds address space for.
///
/// An instance with a memory of its own takes a *slot*: a reservation of 4 GiB and the guard (``EngineConfiguration``),
/// about five mappings. A process has 128 TiB of address space and, on Linux, 65,530 mappings (`vm.max_map_count`).
public struct InstancePoolConfiguration: Sendable, Equatable {
  /// Most slots in use at once. Where it is reached, `instantiate` throws `RuntimeError.limit`.
  public var maximumInUse: Int
  /// Most slots that are kept for the next instance when they are not in use; 0: none are kept. An idle slot holds
  /// address space and mappings, but no memory to speak of, and keeps the artifact's file mapped that it was last used
  /// for (until the module goes).
  public var maximumIdle: Int

  /// The defaults: 10,000 in use, 256 idle.
  public init(maximumInUse: Int = 10_000, maximumIdle: Int = 256) {
    self.maximumInUse = max(0, maximumInUse)
    self.maximumIdle = max(0, maximumIdle)
  }
}

/// The number of slots of an engine's pool at one moment.
public struct InstancePoolCounts: Sendable, Equatable {
  /// Slots that instances have.
  public var inUse: Int
  /// Slots that wait for an instance.
  public var idle: Int

  /// Makes a pair of counts.
  public init(inUse: Int, idle: Int) {
    self.inUse = inUse
    self.idle = idle
  }
}

/// The slots of an engine.
final class InstancePool: Sendable {
  let configuration: InstancePoolConfiguration

  private struct State: ~Copyable {
    var inUse = 0
    var idle = 0
    // Ends of the list of all idle slots, which the pool owns (`passRetained` when one comes in).
    unowned(unsafe) var oldest: InstanceSlot?
    unowned(unsafe) var newest: InstanceSlot?
    /// The mark of those that have nothing mapped.
    let blank = SlotMark()

    /// Takes an idle slot out of both lists; what is returned owns it.
    mutating func remove(_ slot: InstanceSlot) -> InstanceSlot {
      if let older = unsafe slot.older { unsafe older.newer = slot.newer } else { unsafe oldest = slot.newer }
      if let newer = unsafe slot.newer { unsafe newer.older = slot.older } else { unsafe newest = slot.older }
      let mark = slot.mark ?? blank
      if let older = unsafe slot.olderOfMark { unsafe older.newerOfMark = slot.newerOfMark }
      if let newer = unsafe slot.newerOfMark {
        unsafe newer.olderOfMark = slot.olderOfMark
      } else {
        unsafe mark.newest = slot.olderOfMark
      }
      unsafe slot.older = nil
      unsafe slot.newer = nil
      unsafe slot.olderOfMark = nil
      unsafe slot.newerOfMark = nil
      idle -= 1
      // The list's own reference, from `add`.
      return unsafe Unmanaged.passUnretained(slot).takeRetainedValue()
    }

    /// Puts a slot into both lists, as the newest.
    mutating func add(_ slot: InstanceSlot) {
      // Taken back by `remove`.
      _ = unsafe Unmanaged.passRetained(slot)
      unsafe slot.older = newest
      if let before = unsafe newest { unsafe before.newer = slot } else { unsafe oldest = slot }
      unsafe newest = slot
      let mark = slot.mark ?? blank
      unsafe slot.olderOfMark = mark.newest
      if let before = unsafe mark.newest { unsafe before.newerOfMark = slot }
      unsafe mark.newest = slot
      idle += 1
    }

    /// Puts a clean slot into both lists. Returns the one that has waited longest when that makes too many: to be let go
    /// of, and so unmapped, outside of the lock.
    mutating func keep(_ slot: InstanceSlot, most: Int) -> InstanceSlot? {
      add(slot)
      guard idle > most, let oldest = unsafe oldest else { return nil }
      return remove(oldest)
    }
  }
  private let state = Mutex(State())

  init(_ configuration: InstancePoolConfiguration) { self.configuration = configuration }

  deinit {
    // Modules keep their engine, so nobody is looking for a slot any more.
    releaseIdle()
  }

  var counts: InstancePoolCounts { state.withLock { InstancePoolCounts(inUse: $0.inUse, idle: $0.idle) } }

  /// A slot that is ready for an instance of a module.
  ///
  /// - Throws: `RuntimeError.limit` when all are in use, or the system has no more address space or mappings.
  func take(_ plan: InstancePlan, _ module: Module) throws(RuntimeError) -> InstanceSlot {
    enum Choice {
      case ready(InstanceSlot)
      case other(InstanceSlot)
      case new
      case none
    }
    let mark = plan.mark
    let choice: Choice = state.withLock { state in
      if state.inUse >= configuration.maximumInUse { return .none }
      state.inUse += 1
      // All instances of a module need the same guard.
      if let slot = unsafe mark.newest { return .ready(state.remove(slot)) }
      if let slot = unsafe state.blank.newest { return .other(state.remove(slot)) }
      if state.idle < configuration.maximumIdle { return .new }
      if let slot = unsafe state.oldest { return .other(state.remove(slot)) }
      return .new
    }
    if case .none = choice {
      throw RuntimeError(
        .limit,
        "the engine's limit of \(configuration.maximumInUse) instances with memories at once "
          + "(EngineConfiguration.pool.maximumInUse) is reached")
    }
    do throws(LoadError) {
      switch choice {
      case .ready(let slot): return slot
      case .other(let slot) where slot.guardSize >= plan.guardSize:
        return try prepared(slot, plan, module)
      case .other, .new, .none:
        // (One with too small a guard goes here.)
        return try prepared(nil, plan, module)
      }
    } catch {
      state.withLock { $0.inUse -= 1 }
      throw RuntimeError(.limit, "no memory for an instance: \(error)")
    }
  }

  /// A slot for a module: one that had another, or a new one.
  private func prepared(
    _ slot: InstanceSlot?, _ plan: InstancePlan, _ module: Module
  ) throws(LoadError) -> InstanceSlot {
    do throws(LoadError) {
      if let slot { return try prepare(slot, plan, module) }
      return try prepare(try InstanceSlot(guardSize: plan.guardSize), plan, module)
    } catch {
      guard case .outOfResources = error.kind else { throw error }
      // The address space or the mappings that are missing may be those of slots that wait.
      releaseIdle()
      return try prepare(try InstanceSlot(guardSize: plan.guardSize), plan, module)
    }
  }

  private func prepare(
    _ slot: InstanceSlot, _ plan: InstancePlan, _ module: Module
  ) throws(LoadError) -> InstanceSlot {
    slot.mark = nil
    try slot.prepare(plan, module.artifact)
    slot.mark = plan.mark
    return slot
  }

  /// Takes a slot back from an instance that is gone: cleans it, and keeps it, or another one that has waited longer.
  func giveBack(_ slot: InstanceSlot, tableBytes: Int) {
    var isClean = false
    if configuration.maximumIdle > 0 {
      do {
        try slot.reset(tableBytes: tableBytes)
        isClean = true
      } catch {}
    }
    let surplus: InstanceSlot? = state.withLock { state in
      state.inUse -= 1
      return isClean ? state.keep(slot, most: configuration.maximumIdle) : nil
    }
    // Unmapped here, outside of the lock, as is a slot that could not be cleaned when the caller lets go of it.
    _ = consume surplus
  }

  /// Wipes the idle slots of a module that is going, so that they keep neither its file nor its image.
  func forget(_ mark: SlotMark) {
    while true {
      let slot: InstanceSlot? = state.withLock { state in
        guard let slot = unsafe mark.newest else { return nil }
        return state.remove(slot)
      }
      guard let slot else { return }
      slot.mark = nil
      // One that cannot be wiped goes.
      do { try slot.blank() } catch { continue }
      // Others may have filled its place meanwhile.
      _ = state.withLock { $0.keep(slot, most: configuration.maximumIdle) }
    }
  }

  /// Unmaps all idle slots.
  func releaseIdle() {
    while true {
      let slot: InstanceSlot? = state.withLock { state in
        guard let slot = unsafe state.oldest else { return nil }
        return state.remove(slot)
      }
      if slot == nil { return }
    }
  }
}

extension Engine {
  /// How many instance slots are in use and idle.
  public var poolCounts: InstancePoolCounts { pool.counts }

  /// Gives the address space and mappings of all idle instance slots back to the system.
  public func releaseIdleSlots() { pool.releaseIdle() }
}
