; Counts in r24:r25, shows the low byte on port B, and waits with two nested loops.
; Two sections, a table in flash, local and global symbols, relative and absolute jumps: work
; for the assembler, the linker and the converter.
        .section .vectors,"ax",@progbits
        .global __vectors
__vectors:
        jmp     start
        .rept   25
        jmp     unexpected
        .endr

        .text
        .global start
        .type   start, @function
start:
        clr     r1
        ldi     r28, lo8(0x08ff)
        ldi     r29, hi8(0x08ff)
        out     0x3e, r29
        out     0x3d, r28
        ser     r24
        out     0x04, r24
        clr     r24
        clr     r25
1:      rcall   show
        ldi     r18, 200
2:      ldi     r19, 250
3:      dec     r19
        brne    3b
        dec     r18
        brne    2b
        adiw    r24, 1
        rjmp    1b
        .size   start, .-start

        .type   show, @function
show:
        ldi     r30, lo8(patterns)
        ldi     r31, hi8(patterns)
        mov     r20, r24
        andi    r20, 15
        add     r30, r20
        adc     r31, r1
        lpm     r20, Z
        out     0x05, r20
        sts     last, r20
        ret
        .size   show, .-show

unexpected:
        reti

patterns:
        .byte   0x01, 0x03, 0x06, 0x0c, 0x18, 0x30, 0x60, 0xc0
        .byte   0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x00

        .section .bss
        .global last
last:   .skip   1
