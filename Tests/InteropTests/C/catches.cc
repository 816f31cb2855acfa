// The object that catches.
struct Failure {
  int code;
  virtual ~Failure() {}
};
int checked(int x);
extern int destroyed;
extern "C" int careful(int x) {
  try {
    return checked(x);
  } catch (const Failure &failure) {
    return 1000000 + failure.code;
  } catch (int value) {
    return 2000000 - value;
  }
}
extern "C" int witnesses(void) { return destroyed; }
