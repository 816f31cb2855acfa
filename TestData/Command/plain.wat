;; Neither a command nor a reactor: it exports no _start and no _initialize. Built by `make test-wasm`.
(module (func (export "answer") (result i32) (i32.const 42)))
