;; Well formed, but a function that has to leave an i32 leaves nothing. Built by `make test-wasm`.
(module (func (export "_start")) (func (result i32)))
