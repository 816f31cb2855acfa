// Functions by the wasm calling convention, with their trampolines, as the compiler would emit
// them: small enough to see what each does to the host. `loader_test_code.h` lists them.
//
// The context is laid out as in ContextLayout.swift; at [context + 48] stands the context of a host
// function for those that call out. Call frame information holds at calls.
#if defined(__x86_64__)
        .intel_syntax noprefix
        .text
        .p2align 12
        .globl lt_text_start
lt_text_start:

// uint64_t entry(context rdi, code rsi, slots rdx, activation rcx): (i64, i64) -> i64
        .p2align 4
        .globl lt_entry
        .type lt_entry, @function
lt_entry:
        .cfi_startproc
        push rbp
        .cfi_def_cfa_offset 16
        .cfi_offset 6, -16
        mov rbp, rsp
        .cfi_def_cfa_register 6
        push rbx
        push r12
        push r13
        push r14
        push r15
        .cfi_offset 3, -24
        .cfi_offset 12, -32
        .cfi_offset 13, -40
        .cfi_offset 14, -48
        .cfi_offset 15, -56
        push rdx
        mov [rcx], rsp
        lea rax, [rip + 1f]
        mov [rcx + 8], rax
        mov [rcx + 16], rbp
        mov r14, rdi
        mov rbx, [r14]
        xor r13d, r13d
        mov rax, rsi
        mov rdi, [rdx]
        mov rsi, [rdx + 16]
        call rax
        .byte 0x0F, 0x1F, 0x40, 0xE5
        pop rdx
        mov [rdx], rax
        xor eax, eax
        jmp 2f
1:      pop rdx
        mov eax, 1
2:      pop r15
        pop r14
        pop r13
        pop r12
        pop rbx
        pop rbp
        ret
        .cfi_endproc

// The way out: (i64, i64) -> i64
        .p2align 4
        .globl lt_exit
lt_exit:
        .cfi_startproc
        push rbp
        mov rbp, rsp
        .cfi_def_cfa 6, 16
        .cfi_offset 6, -16
        sub rsp, 32
        mov [rsp], rdi
        mov [rsp + 16], rsi
        mov rax, [r14 + 8]
        mov rax, [rax + 8]
        mov [rax + 24], rbp
        mov rdi, r14
        mov rsi, r13
        mov rdx, rsp
        call [r14 + 40]
        test eax, eax
        jne 1f
        mov rax, [rsp]
        leave
        ret
1:      mov rax, [r14 + 8]
        mov rax, [rax + 8]
        mov rsp, [rax]
        jmp [rax + 8]
        .cfi_endproc

        .p2align 4
        .globl lt_add
lt_add: push rbp
        mov rbp, rsp
        lea rax, [rdi + rsi]
        leave
        ret

        .p2align 4
        .globl lt_unreachable
        .globl lt_unreachable_site
lt_unreachable:
        push rbp
        mov rbp, rsp
lt_unreachable_site:
        ud2

// Overwrites every callee-saved register of C, then traps: the trampoline must restore them.
        .p2align 4
        .globl lt_clobber
        .globl lt_clobber_site
lt_clobber:
        push rbp
        mov rbp, rsp
        mov rbx, -1
        mov r12, -1
        mov r13, -1
        mov r15, -1
lt_clobber_site:
        ud2

// i32.load at the absolute address rdi
        .p2align 4
        .globl lt_load
        .globl lt_load_site
lt_load:
        push rbp
        mov rbp, rsp
lt_load_site:
        mov eax, [rdi]
        leave
        ret

// Loads from the absolute address rdi, at a trap site, until it finds something other than 0
        .p2align 4
        .globl lt_spin
        .globl lt_spin_site
lt_spin:
        push rbp
        mov rbp, rsp
1:
lt_spin_site:
        cmp dword ptr [rdi], 0
        je 1b
        leave
        ret

// The same as lt_load at an instruction that is no trap site
        .p2align 4
        .globl lt_load_unlisted
lt_load_unlisted:
        push rbp
        mov rbp, rsp
        mov eax, [rdi]
        leave
        ret

// i32.div_s
        .p2align 4
        .globl lt_divide
        .globl lt_divide_site
lt_divide:
        push rbp
        mov rbp, rsp
        mov eax, edi
        cdq
lt_divide_site:
        idiv esi
        leave
        ret

// Calls itself rdi times, then calls lt_load(rsi). Checks the stack limit.
        .p2align 4
        .globl lt_recurse
        .globl lt_recurse_return
        .globl lt_recurse_last_return
        .globl lt_recurse_overflow_site
lt_recurse:
        push rbp
        mov rbp, rsp
        mov r11, [r14 + 8]
        lea rax, [rsp - 48]
        cmp rax, [r11]
        jb 2f
        sub rsp, 48
        test rdi, rdi
        je 1f
        dec rdi
        call lt_recurse
lt_recurse_return:
        leave
        ret
1:      mov rdi, rsi
        call lt_load
lt_recurse_last_return:
        leave
        ret
2:
lt_recurse_overflow_site:
        ud2

// Calls the host function whose context is at [context + 48]
        .p2align 4
        .globl lt_call_host
        .globl lt_call_host_return
lt_call_host:
        .cfi_startproc
        push rbp
        mov rbp, rsp
        .cfi_def_cfa 6, 16
        .cfi_offset 6, -16
        push r14
        push r14
        mov r13, r14
        mov r14, [r14 + 48]
        mov rbx, [r14]
        call lt_exit
lt_call_host_return:
        mov r14, [rbp - 8]
        mov rbx, [r14]
        leave
        ret
        .cfi_endproc

// Puts rdi where its caller's frame pointer is saved, then traps: a damaged frame chain.
        .p2align 4
        .globl lt_damage
        .globl lt_damage_site
lt_damage:
        push rbp
        mov rbp, rsp
        mov [rbp], rdi
lt_damage_site:
        ud2

        .p2align 4
        .globl lt_text_end
lt_text_end:

// No wasm: calls lt_enter_plain with the same arguments, and known values in all callee-saved registers.
        .globl lt_enter_marked
        .globl lt_marked_return
lt_enter_marked:
        .cfi_startproc
        push rbp
        .cfi_def_cfa_offset 16
        .cfi_offset 6, -16
        mov rbp, rsp
        .cfi_def_cfa_register 6
        push rbx
        push r12
        push r13
        push r14
        push r15
        .cfi_offset 3, -24
        .cfi_offset 12, -32
        .cfi_offset 13, -40
        .cfi_offset 14, -48
        .cfi_offset 15, -56
        push r15
        mov rbx, 0x3333
        mov r12, 0xCCCC
        mov r13, 0xDDDD
        mov r14, 0xEEEE
        mov r15, 0xFFFF
        call lt_enter_plain@PLT
lt_marked_return:
        pop r15
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbx
        pop rbp
        ret
        .cfi_endproc
#endif
#if defined(__linux__) && defined(__ELF__)
        .section .note.GNU-stack, "", %progbits
#endif
