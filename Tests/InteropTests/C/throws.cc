// Exceptions that one object throws and another catches; but for one that nobody does.
struct Failure {
  int code;
  virtual ~Failure() {}
};
struct Special : Failure {};
int destroyed;
struct Witness {
  ~Witness() { destroyed++; }
};
int checked(int x) {
  Witness witness;
  if (x > 100) {
    Special special;
    special.code = x;
    throw special;
  }
  if (x < 0) throw x;
  if (x == 100) throw 'c';
  return x + 1;
}
