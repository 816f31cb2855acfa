// uint64_t checked_call(const struct precast_function *, void *slots, struct precast_store_context *, uint64_t seen[18])
//
// Calls `precast_call` with known values in every register that AAPCS64 lets a callee change only if it restores it, and puts
// into `seen` what is in x19 to x28 and d8 to d15 afterwards. The stack pointer is checked as well: a wrong one ends the process.
//
// expected_registers: the values, in the same order.

        .section .rodata
        .globl  expected_registers
        .balign 8
expected_registers:
        .irp    n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
        .xword  0x1234567800000000 + \n
        .endr
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        .xword  0x4321876500000000 + \n
        .endr

        .text
        .globl  checked_call
        .globl  checked_call_end
        .type   checked_call, %function
checked_call:
        .cfi_startproc
        stp     x29, x30, [sp, #-192]!
        .cfi_def_cfa_offset 192
        .cfi_offset 29, -192
        .cfi_offset 30, -184
        mov     x29, sp
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        stp     d8, d9, [sp, #96]
        stp     d10, d11, [sp, #112]
        stp     d12, d13, [sp, #128]
        stp     d14, d15, [sp, #144]
        str     x3, [sp, #160]
        .cfi_offset 19, -176
        .cfi_offset 20, -168
        .cfi_offset 21, -160
        .cfi_offset 22, -152
        .cfi_offset 23, -144
        .cfi_offset 24, -136
        .cfi_offset 25, -128
        .cfi_offset 26, -120
        .cfi_offset 27, -112
        .cfi_offset 28, -104
        .cfi_offset 72, -96
        .cfi_offset 73, -88
        .cfi_offset 74, -80
        .cfi_offset 75, -72
        .cfi_offset 76, -64
        .cfi_offset 77, -56
        .cfi_offset 78, -48
        .cfi_offset 79, -40
        adrp    x9, expected_registers
        add     x9, x9, :lo12:expected_registers
        ldp     x19, x20, [x9]
        ldp     x21, x22, [x9, #16]
        ldp     x23, x24, [x9, #32]
        ldp     x25, x26, [x9, #48]
        ldp     x27, x28, [x9, #64]
        ldp     d8, d9, [x9, #80]
        ldp     d10, d11, [x9, #96]
        ldp     d12, d13, [x9, #112]
        ldp     d14, d15, [x9, #128]
        bl      precast_call
        mov     x9, sp
        cmp     x9, x29
        b.ne    1f
        ldr     x3, [sp, #160]
        stp     x19, x20, [x3]
        stp     x21, x22, [x3, #16]
        stp     x23, x24, [x3, #32]
        stp     x25, x26, [x3, #48]
        stp     x27, x28, [x3, #64]
        stp     d8, d9, [x3, #80]
        stp     d10, d11, [x3, #96]
        stp     d12, d13, [x3, #112]
        stp     d14, d15, [x3, #128]
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        ldp     x29, x30, [sp], #192
        .cfi_def_cfa_offset 0
        ret
1:      brk     #1
        .cfi_endproc
checked_call_end:
        .size   checked_call, . - checked_call
        .section .note.GNU-stack, "", %progbits
