// Names with scopes and types, for demangling.
namespace shop {
struct Till {
  int coins;
  __attribute__((noinline)) int pay(int price, int people) const {
    return coins + price / people;  // TRAP pay
  }
};
}  // namespace shop

__attribute__((export_name("pay"))) int pay(int price, int people) {
  shop::Till till = {people};
  return till.pay(price, people) + 1;
}
