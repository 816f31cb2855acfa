import Glibc

@main
enum Entry {
  static func main() {
    exit(PrecastCommand.main(words: Array(CommandLine.arguments.dropFirst())))
  }
}
