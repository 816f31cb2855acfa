import CPrecastHost
import Foundation
import PrecastLoader
import Testing

@Suite struct ReservationTests {
  let page = precast_page_size()

  func byte(_ reservation: AddressSpaceReservation, _ offset: Int) -> UnsafeMutablePointer<UInt8> {
    UnsafeMutablePointer(bitPattern: reservation.base + UInt(offset))!
  }

  /// A file with these bytes, opened for reading.
  func file(_ bytes: [UInt8]) throws -> Int32 {
    let descriptor = precast_sealed_memfd("reservation-test", bytes, bytes.count)
    try #require(descriptor >= 0)
    return descriptor
  }

  @Test func aReservationIsInaccessibleUntilCommitted() throws {
    let reservation = try AddressSpaceReservation(size: 6 << 30)
    #expect(reservation.size == 6 << 30)
    let store = TestStore()
    let address = UInt64(reservation.base)
    #expect(store.enter(Label.load, address) == .trapped(code: 2, signal: SIGSEGV))
    try reservation.commit(offset: 0, length: 2 * page)
    #expect(store.enter(Label.load, address) == .returned(0))
    #expect(store.enter(Label.load, address + UInt64(2 * page)) == .trapped(code: 2, signal: SIGSEGV))
    byte(reservation, 5).pointee = 1
    try reservation.decommit(offset: 0, length: page)
    #expect(store.enter(Label.load, address) == .trapped(code: 2, signal: SIGSEGV))
    try reservation.commit(offset: 0, length: page)
    #expect(byte(reservation, 5).pointee == 0)
  }

  @Test func anImageIsPrivateAndComesBackAtReset() throws {
    let contents = (0..<2 * page).map { UInt8(truncatingIfNeeded: $0 / 7) }
    let descriptor = try file(contents)
    defer { close(descriptor) }
    let reservation = try AddressSpaceReservation(size: 16 * page)
    let other = try AddressSpaceReservation(size: 16 * page)
    try reservation.mapImage(offset: page, length: page, fileDescriptor: descriptor, fileOffset: page)
    try other.mapImage(offset: 0, length: 2 * page, fileDescriptor: descriptor, fileOffset: 0)
    #expect(byte(reservation, page + 9).pointee == contents[page + 9])
    byte(reservation, page + 9).pointee = 0xEE
    #expect(byte(other, page + 9).pointee == contents[page + 9])
    try reservation.reset(offset: page, length: page)
    #expect(byte(reservation, page + 9).pointee == contents[page + 9])
    try reservation.mapZero(offset: page, length: page)
    #expect(byte(reservation, page + 9).pointee == 0)
    byte(reservation, page).pointee = 3
    try reservation.reset(offset: page, length: page)
    #expect(byte(reservation, page).pointee == 0)
  }

  @Test func rangesOutsideOrAcrossPagesAreRefused() throws {
    let reservation = try AddressSpaceReservation(size: 4 * page + 1)
    #expect(reservation.size == 5 * page)
    for (offset, length) in [
      (0, 6 * page), (5 * page, page), (-page, page), (1, page), (0, 1), (0, -page), (page, Int.max & ~(page - 1)),
      (Int.min, page),
    ] {
      #expect(throws: LoadError.self) { try reservation.commit(offset: offset, length: length) }
      #expect(throws: LoadError.self) { try reservation.mapZero(offset: offset, length: length) }
      #expect(throws: LoadError.self) { try reservation.reset(offset: offset, length: length) }
      #expect(throws: LoadError.self) { try reservation.decommit(offset: offset, length: length) }
    }
    #expect(throws: LoadError.self) {
      try reservation.mapImage(offset: 0, length: page, fileDescriptor: -1, fileOffset: 0)
    }
    try reservation.commit(offset: 5 * page, length: 0)
  }

  @Test func addressSpaceThatIsNotThereIsAnError() {
    for size in [0, -1, Int.max, Int.max - page, 1 << 60] {
      #expect(throws: LoadError.self) { try AddressSpaceReservation(size: size) }
    }
  }
}
