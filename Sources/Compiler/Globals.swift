// Globals: a field of the context, or of what it points to where they are imported.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine: ~Copyable {
  // MARK: Globals

  private mutating func globalAddress(_ place: GlobalPlace, scratch: Register?) -> Address {
    if place.isIndirect, let scratch {
      asm.load(.b64, dst: scratch, from: Machine.context(place.offset))
      return Machine.field(scratch, 0)
    }
    return Machine.context(place.offset)
  }

  mutating func globalGet(_ op: Operator) {
    let place = environment.globals[Int(op.a)]
    if place.type.isFloatOrVector {
      let scratch: Register? = place.isIndirect ? allocate() : nil
      let register = vectorDestination ?? allocateVector()
      loadVector(register, place.type, globalAddress(place, scratch: scratch))
      if let scratch { release(scratch) }
      push(register, place.type)
    } else {
      let register = destination ?? allocate()
      asm.load(Self.size(place.type), dst: register, from: globalAddress(place, scratch: register))
      push(register, place.type)
    }
  }

  mutating func globalSet(_ op: Operator) {
    let place = environment.globals[Int(op.a)]
    let value = pop()
    let scratch: Register? = place.isIndirect ? allocate() : nil
    if place.type.isFloatOrVector {
      let register = readVector(value)
      storeVector(register, place.type, globalAddress(place, scratch: scratch))
      release(register)
    } else if value.kind == .constant {
      Machine.storeConstant(&self, value.bits, place.type, globalAddress(place, scratch: scratch))
    } else {
      let register = read(value)
      asm.store(Self.size(place.type), to: globalAddress(place, scratch: scratch), src: register)
      release(register)
    }
    if let scratch { release(scratch) }
  }
}
