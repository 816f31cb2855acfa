// swift-tools-version: 6.2
import PackageDescription

// Every Swift target: language mode 6, and each unsafe step marked where it stands.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

// Whether this is a release: a tagged commit, and nothing changed. Two programs built from one release share the entries of
// the artifact cache; anything else has its own (Sources/Cache/CompilerIdentity.swift).
let isRelease = Context.gitInformation.map { $0.currentTag != nil && !$0.hasUncommittedChanges } ?? false

let package = Package(
  name: "precast",
  products: [
    .library(name: "Precast", targets: ["Precast"]),
    .library(name: "PrecastRuntime", targets: ["PrecastRuntime"]),
    .library(name: "PrecastWASI", targets: ["PrecastWASI"]),
    .library(name: "PrecastCacheSettings", targets: ["PrecastCacheSettings"]),
    .executable(name: "precast", targets: ["precast"]),
    .executable(name: "precast-bench", targets: ["precast-bench"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    .systemLibrary(name: "CLibELF", path: "Sources/CLibELF", pkgConfig: "libelf", providers: [.apt(["libelf-dev"])]),
    .systemLibrary(
      name: "CLibZstd", path: "Sources/CLibZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .target(name: "CPrecastHost", path: "Sources/HostSupport"),
    .target(name: "PrecastWasm", path: "Sources/Wasm", swiftSettings: settings),
    .target(name: "PrecastMachineCode", path: "Sources/MachineCode", swiftSettings: settings),
    .target(
      name: "PrecastArtifact", dependencies: ["PrecastWasm", "PrecastMachineCode", "CPrecastHost"],
      path: "Sources/Artifact", swiftSettings: settings),
    .target(
      name: "PrecastVerification",
      dependencies: ["PrecastArtifact", "CPrecastHost", .product(name: "Crypto", package: "swift-crypto")],
      path: "Sources/Verification", swiftSettings: settings),
    .target(
      name: "PrecastLinker", dependencies: ["PrecastArtifact", "PrecastMachineCode"], path: "Sources/Linker",
      swiftSettings: settings),
    .target(
      name: "PrecastArtifactWriter",
      dependencies: ["PrecastArtifact", "PrecastVerification", "CLibELF", "CPrecastHost"],
      path: "Sources/ArtifactWriter", swiftSettings: settings),
    .target(
      name: "PrecastCompiler", dependencies: ["PrecastWasm", "PrecastMachineCode", "PrecastArtifactWriter"],
      path: "Sources/Compiler", swiftSettings: settings),
    .target(
      name: "PrecastLoader",
      dependencies: ["PrecastArtifact", "PrecastVerification", "PrecastLinker", "PrecastMachineCode", "CPrecastHost"],
      path: "Sources/Loader", swiftSettings: settings),
    .target(
      name: "PrecastDebugInfo", dependencies: ["PrecastLoader", "PrecastArtifact", "CPrecastHost"],
      path: "Sources/DebugInfo", swiftSettings: settings),
    .target(
      name: "PrecastRuntime",
      dependencies: ["PrecastDebugInfo", "PrecastLoader", "PrecastArtifact", "PrecastWasm", "CPrecastHost"],
      path: "Sources/Runtime", swiftSettings: settings),
    .target(
      name: "PrecastWASI", dependencies: ["PrecastRuntime", "CPrecastHost"], path: "Sources/WASI",
      swiftSettings: settings),
    .target(
      name: "PrecastCache",
      dependencies: [
        "PrecastArtifact", "PrecastVerification", "CLibZstd", "CPrecastHost",
        .product(name: "Crypto", package: "swift-crypto"),
      ],
      path: "Sources/Cache", swiftSettings: settings + (isRelease ? [.define("PRECAST_RELEASE")] : [])),
    .target(
      name: "PrecastCacheSettings", dependencies: ["PrecastCache", "TOMLKit"], path: "Sources/CacheSettings",
      swiftSettings: settings),
    .target(
      name: "Precast", dependencies: ["PrecastRuntime", "PrecastWASI", "PrecastCompiler", "PrecastCache"],
      path: "Sources/Precast", swiftSettings: settings),
    .executableTarget(
      name: "precast",
      dependencies: [
        "Precast", "PrecastCache", "PrecastCacheSettings", "PrecastVerification", "CPrecastHost",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/CLI", swiftSettings: settings),
    .executableTarget(
      name: "precast-bench",
      dependencies: [
        "Precast", "PrecastRuntime", "PrecastDebugInfo", "PrecastLoader", "PrecastLinker", "PrecastArtifact",
        "PrecastMachineCode", "PrecastCache", "CPrecastHost", "LargeModule",
      ],
      path: "Sources/Benchmarks", swiftSettings: settings),
    .target(name: "LargeModule", path: "Tests/LargeModule", swiftSettings: settings),

    .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
    .testTarget(name: "WasmTests", dependencies: ["PrecastWasm", "TestSupport"], path: "Tests/WasmTests"),
    .testTarget(
      name: "MachineCodeTests", dependencies: ["PrecastMachineCode", "TestSupport"], path: "Tests/MachineCodeTests"),
    .testTarget(
      name: "ArtifactTests", dependencies: ["PrecastArtifact", "PrecastMachineCode", "CPrecastHost", "TestSupport"],
      path: "Tests/ArtifactTests"),
    .testTarget(
      name: "ArtifactWriterTests",
      dependencies: [
        "PrecastArtifactWriter", "PrecastVerification", "PrecastArtifact", "PrecastMachineCode", "PrecastWasm",
        "CPrecastHost", "TestSupport", .product(name: "Crypto", package: "swift-crypto"),
      ],
      path: "Tests/ArtifactWriterTests"),
    .testTarget(
      name: "LinkerTests", dependencies: ["PrecastLinker", "PrecastArtifact", "PrecastMachineCode", "TestSupport"],
      path: "Tests/LinkerTests"),
    .target(name: "CUnicorn", path: "Tests/CUnicorn"),
    .target(name: "PrecastEmulator", dependencies: ["CUnicorn"], path: "Tests/Emulator", swiftSettings: settings),
    .target(
      name: "PrecastEmulatedRuntime",
      dependencies: [
        "PrecastEmulator", "CUnicorn", "PrecastRuntime", "PrecastLoader", "PrecastArtifact", "CPrecastHost",
      ],
      path: "Tests/EmulatedRuntime", swiftSettings: settings),
    .testTarget(
      name: "InteropTests",
      dependencies: [
        "PrecastEmulator", "PrecastEmulatedRuntime", "TestSupport", "Precast", "PrecastRuntime", "PrecastCompiler",
        "PrecastLoader", "PrecastLinker",
        "PrecastArtifact", "PrecastMachineCode", "PrecastWasm", "precast",
      ],
      path: "Tests/InteropTests", exclude: ["C"]),
    .testTarget(
      name: "CompilerTests", dependencies: ["PrecastCompiler", "PrecastEmulator", "TestSupport"],
      path: "Tests/CompilerTests"),
    .testTarget(
      name: "HostSupportTests",
      dependencies: [
        "PrecastLoader", "PrecastCompiler", "PrecastArtifact", "PrecastMachineCode", "PrecastWasm", "CPrecastHost",
        "TestSupport",
      ],
      path: "Tests/HostSupportTests", exclude: ["AArch64"]),
    .target(name: "CLoaderTestCode", dependencies: ["CPrecastHost"], path: "Tests/LoaderTestCode"),
    .testTarget(
      name: "LoaderTests",
      dependencies: [
        "PrecastLoader", "PrecastArtifact", "PrecastArtifactWriter", "PrecastMachineCode", "PrecastWasm",
        "CPrecastHost", "CLoaderTestCode", "TestSupport",
      ],
      path: "Tests/LoaderTests"),
    .testTarget(
      name: "RuntimeTests",
      dependencies: [
        "Precast", "PrecastArtifactWriter", "PrecastCompiler", "CPrecastHost", "PrecastEmulator",
        "PrecastEmulatedRuntime", "TestSupport",
      ],
      path: "Tests/RuntimeTests"),
    .testTarget(
      name: "WASITests", dependencies: ["Precast", "PrecastWASI", "CPrecastHost"], path: "Tests/WASITests",
      exclude: ["Programs"]),
    .testTarget(
      name: "PrecastTests",
      dependencies: [
        "Precast", "PrecastRuntime", "PrecastWASI", "PrecastCompiler", "PrecastLoader", "PrecastArtifact",
        "PrecastWasm", "PrecastMachineCode", "PrecastEmulator", "PrecastEmulatedRuntime",
        "LargeModule", "TestSupport", "precast", "artifact-holder", "unwind-subject",
      ],
      path: "Tests/PrecastTests"),
    .executableTarget(
      name: "artifact-holder", dependencies: ["PrecastLoader"], path: "Tests/ArtifactHolder", swiftSettings: settings),
    .executableTarget(
      name: "unwind-subject", dependencies: ["Precast", "CPrecastHost"], path: "Tests/UnwindSubject",
      swiftSettings: settings),
    .target(
      name: "CacheTestSupport", dependencies: ["Precast"], path: "Tests/CacheTestSupport", swiftSettings: settings),
    .executableTarget(
      name: "cache-hammer", dependencies: ["Precast", "CacheTestSupport"], path: "Tests/CacheHammer",
      swiftSettings: settings),
    .testTarget(
      name: "CacheTests",
      dependencies: [
        "PrecastCache", "PrecastCacheSettings", "Precast", "PrecastCompiler", "PrecastArtifact", "CacheTestSupport",
        "cache-hammer",
      ],
      path: "Tests/CacheTests"),
    .executableTarget(
      name: "debug-host", dependencies: ["Precast", "PrecastLoader"], path: "Tests/DebugHost", swiftSettings: settings),
    .testTarget(
      name: "DebugInfoTests",
      dependencies: [
        "PrecastDebugInfo", "Precast", "PrecastCompiler", "PrecastLoader", "PrecastArtifact", "PrecastWasm",
        "CPrecastHost", "precast", "debug-host",
      ],
      path: "Tests/DebugInfoTests"),
    .testTarget(name: "CLITests", dependencies: ["precast", "TestSupport"], path: "Tests/CLITests"),
  ]
)
