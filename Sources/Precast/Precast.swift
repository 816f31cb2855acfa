// The umbrella: what an embedder imports to have everything.
//
// `PrecastRuntime` alone loads and runs artifacts. This target adds the compiler, so that a module can also be made
// directly of a wasm binary, and WASI.

@_exported public import PrecastCache
@_exported public import PrecastRuntime
@_exported public import PrecastWASI
