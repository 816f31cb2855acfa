; A second object, so that the linker has something to resolve.
        .text
        .global average
        .type   average, @function
average:
        lds     r24, last
        add     r24, r22
        ror     r24
        sts     last, r24
        ret
        .size   average, .-average
        .section .data
        .global greeting
greeting:
        .asciz  "precast"
        .word   average, start
