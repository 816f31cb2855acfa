import PrecastLinker
import Testing

@Suite struct PlacementTests {
  @Test func partsFollowEachOtherAndWritableDataHasPagesOfItsOwn() {
    var sizes = LinkedSizes()
    sizes.text = 8192
    sizes.ehFrame = 104
    sizes.readOnly = 100
    sizes.readOnlyAlignment = 64
    sizes.writable = 10
    sizes.writableInMemory = 5000
    let placement = LinkPlacement(sizes, pageSize: 4096)
    #expect(placement.readOnly == 8192 + 128)
    #expect(placement.writable == 12288)
  }
}
