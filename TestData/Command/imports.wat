;; Asks for something that nobody provides. Built by `make test-wasm`.
(module (import "env" "missing" (func)) (func (export "_start")))
