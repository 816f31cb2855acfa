// What a compiler would make of a small wasm module, by hand: the text of an artifact for AArch64, its unwind table behind it,
// and lists of functions and trap sites. Linked by code.ld into a file that the host program maps as it maps artifacts.
//
// Contexts are those of a module that has a memory and imports a function (ContextLayout.swift): the base of memory 0 at 0, the
// store at 8, the host's function at 40, the memory at 64, and at 80 the imported function: its code and its context.

        .arch   armv8.5-a
        .text

        .macro  function name
        .balign 16
        .globl  \name
        .type   \name, %function
\name:
        .cfi_startproc
        .endm

        .macro  end name
        .cfi_endproc
        .size   \name, . - \name
.L\name\()_end:
        .endm

        // `bti c` and the standard frame.
        .macro  prologue
        bti     c
        stp     x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset 29, -16
        .cfi_offset 30, -8
        mov     x29, sp
        .cfi_def_cfa_register 29
        .endm

        .macro  epilogue
        mov     sp, x29
        ldp     x29, x30, [sp], #16
        .cfi_remember_state
        .cfi_restore 29
        .cfi_restore 30
        .cfi_def_cfa 31, 0
        ret
        .cfi_restore_state
        .endm

        .macro  trap code
        .pushsection .sites, "a"
        .word   100f - text, \code
        .popsection
100:    udf     #\code
        .endm

        .globl  text
text:

// uint64_t entry(context, code, slots, activation); one i64 in, one out.
        function entry
        prologue
        sub     sp, sp, #112
        stp     x27, x28, [x29, #-16]
        .cfi_offset 27, -32
        .cfi_offset 28, -24
        stp     x2, x26, [x29, #-32]
        .cfi_offset 26, -40
        stp     d8, d9, [x29, #-48]
        .cfi_offset 72, -64
        .cfi_offset 73, -56
        stp     d10, d11, [x29, #-64]
        .cfi_offset 74, -80
        .cfi_offset 75, -72
        stp     d12, d13, [x29, #-80]
        .cfi_offset 76, -96
        .cfi_offset 77, -88
        stp     d14, d15, [x29, #-96]
        .cfi_offset 78, -112
        .cfi_offset 79, -104
        adr     x17, resume
        mov     x16, sp
        stp     x16, x17, [x3]
        str     x29, [x3, #16]
        mov     x16, x1
        mov     x28, x0
        mov     x27, xzr
        ldr     x26, [x28]
        ldr     x0, [x2]
        blr     x16
        .word   0xD28AEA1F
        ldr     x2, [x29, #-32]
        str     x0, [x2]
        mov     w0, wzr
leave:
        ldp     x27, x28, [x29, #-16]
        ldr     x26, [x29, #-24]
        ldp     d8, d9, [x29, #-48]
        ldp     d10, d11, [x29, #-64]
        ldp     d12, d13, [x29, #-80]
        ldp     d14, d15, [x29, #-96]
        mov     sp, x29
        ldp     x29, x30, [sp], #16
        .cfi_remember_state
        .cfi_restore 26
        .cfi_restore 27
        .cfi_restore 28
        .irp    n, 29, 30, 72, 73, 74, 75, 76, 77, 78, 79
        .cfi_restore \n
        .endr
        .cfi_def_cfa 31, 0
        ret
        .cfi_restore_state
        .cfi_remember_state
resume:
        .cfi_def_cfa 31, 128
        bti     j
        add     x29, sp, #112
        .cfi_restore_state
        mov     w0, #1
        b       leave
        end     entry

// Calls the host's function with its context, the caller's context, and one slot for argument and result.
        function exit
        prologue
        sub     sp, sp, #16
        str     x0, [sp]
        ldr     x16, [x28, #8]
        ldr     x16, [x16, #8]
        str     x29, [x16, #24]
        mov     x0, x28
        mov     x1, x27
        mov     x2, sp
        ldr     x16, [x28, #40]
        blr     x16
        cbnz    x0, 1f
        ldr     x0, [sp]
        epilogue
1:      ldr     x16, [x28, #8]
        ldr     x16, [x16, #8]
        ldp     x16, x17, [x16]
        mov     sp, x16
        br      x17
        end     exit

// The argument and 1; uses what compiled code may use.
        function increment
        prologue
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        fmov    d\n, x29
        .endr
        add     x0, x0, #1
        epilogue
        end     increment

// Traps two calls deep.
        function unreachable
        prologue
        sub     sp, sp, #32
        str     x28, [x29, #-8]
        bl      inner
        epilogue
        end     unreachable

        function inner
        prologue
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        fmov    d\n, x29
        .endr
        mov     x26, #-1
        mov     x27, #-1
        mov     x28, #-1
        bl      innermost
        epilogue
        end     inner

        function innermost
        prologue
        trap    1
        end     innermost

// Loads from memory 0.
        function load
        prologue
        .pushsection .sites, "a"
        .word   1f - text, 2
        .popsection
1:      ldr     x0, [x26, x0]
        epilogue
        end     load

// Calls itself until the stack's limit.
        function recurse
        prologue
        ldr     x16, [x28, #8]
        ldr     x16, [x16]
        mov     x17, sp
        cmp     x17, x16
        b.lo    1f
        sub     sp, sp, #64
        bl      recurse
        epilogue
1:      trap    10
        end     recurse

// Traps with a stack pointer that leaves no room for a signal's frame.
        function low
        prologue
        mov     sp, x0
        trap    1
        end     low

// Calls the imported function.
        function out
        prologue
        sub     sp, sp, #16
        str     x28, [x29, #-8]
        mov     x27, x28
        ldp     x16, x28, [x28, #80]
        blr     x16
        ldr     x28, [x29, #-8]
        add     x0, x0, #1000
        epilogue
        end     out

// Calls what a C compiler could have made, which is lost in the middle.
        function native
        prologue
        sub     sp, sp, #16
        str     x28, [x29, #-8]
        bl      lost
        ldr     x28, [x29, #-8]
        epilogue
        end     native

        function lost
        prologue
        stp     x19, x20, [sp, #-64]!
        stp     x21, x22, [sp, #16]
        stp     x23, x24, [sp, #32]
        str     x25, [sp, #48]
        .irp    n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
        mov     x\n, #-1
        .endr
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        fmov    d\n, x19
        .endr
        nop
        ldp     x21, x22, [sp, #16]
        ldp     x23, x24, [sp, #32]
        ldr     x25, [sp, #48]
        ldp     x19, x20, [sp], #64
        epilogue
        end     lost

        .pushsection .sites, "a"
        .word   0xFFFFFFFF, 0
        .popsection

        .section .directory, "a"
        .word   __eh_frame
        .word   __eh_frame_size
        .word   __sites
        .irp    name, entry, exit, increment, unreachable, inner, innermost, load, recurse, out, low, native, lost
        .word   \name, .L\name\()_end - \name
        .endr
