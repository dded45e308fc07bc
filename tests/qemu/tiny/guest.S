# A guest of a few hundred bytes that dirties memory in known patterns, for ever.
#
# QEMU starts it with -kernel: multiboot 1, a flat binary loaded at 1 MiB. It
# enters 64-bit mode, fills the regions its table asks for, writes READY_MAGIC
# into the status page and then sweeps over the table again and again. The
# table follows the code at TABLE; tests/qemu/tiny/__init__.py writes it.
#
# QEMU before 9.0 under TCG loses dirty marks: a page that stays in the TLB as
# written gets no new mark after a dirty-bitmap sync. So there is no stack, no
# interrupt (calls go through a link register), and every page is taken out of
# the TLB before it is written, and again before one word is written a second
# time after a longer write. That makes plain migrations exact on 7.2 too.
#
# Build: as --64 guest.S -o guest.o && objcopy -O binary -j .text guest.o guest.bin

        .set LOAD,        0x100000
        .set TABLE,       0x100800      # header, then entries
        .set PML4,        0x101000
        .set PDPT,        0x102000
        .set PD,          0x103000
        .set STATUS,      0x104000      # ready magic, sweep number
        .set READY_MAGIC, 0x5954534947475450    # "PTGGISTY" in memory order

# header of the table
        .set HEADER_BYTES,   32
        .set T_NS_PER_WRITE, 0          # u64: pace; 0 = as fast as it goes
        .set T_SWEEPS,       8          # u64: halt after so many sweeps; 0 = never
        .set T_PUBLISH,      16         # u64: 1 = write the sweep number after each sweep
        .set T_SEED,         24         # u64: of the random patterns, not 0
# one entry
        .set ENTRY_BYTES,    32
        .set E_PATTERN,      0          # u32, 0 = end of table
        .set E_WORDS,        4          # u32: 8-byte words touched in a page
        .set E_START,        8          # u64: guest physical address
        .set E_PAGES,        16         # u64
        .set E_WRITES,       24         # u32: writes a sweep (random patterns)
        .set E_FILL,         28         # u32: 1 = fill with phase 3 before the first sweep

        .set P_SILENT,  1
        .set P_FLIP,    2
        .set P_COUNTER, 3
        .set P_WORDS,   4
        .set P_PAGES,   5
        .set P_ZEROING, 6               # any other number: never touched after the fill

        .set PM_TIMER,     0x608        # where SeaBIOS puts it on pc and q35; 3.579545 MHz
        .set PM_TEN_MS,    35795

        .text
        .code32
header: .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
        .long LOAD, LOAD, 0, 0, LOAD + (start - header)

gdt:    .quad 0, 0x00209A0000000000
gdtr:   .word 15
        .long LOAD + (gdt - header)

start:  cli
        cld
        xorl    %eax, %eax
        movl    $PML4, %edi
        movl    $(3 * 1024), %ecx
        rep stosl
# accessed and dirty bits are set in advance, so the CPU never writes these pages later
        movl    $(PDPT + 0x23), PML4
        movl    $(PD + 0x23), PDPT
        movl    $0xE3, %eax
        movl    $PD, %edi
1:      movl    %eax, (%edi)
        addl    $8, %edi
        addl    $0x200000, %eax
        cmpl    $0x400000E3, %eax
        jne     1b
        movl    $0x20, %eax
        movl    %eax, %cr4
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $0xC0000080, %ecx
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    $0x80000001, %eax
        movl    %eax, %cr0
        lgdt    LOAD + (gdtr - header)
        ljmp    $8, $(LOAD + (long - header))

# r8 table  r9 sweep  r10 entry  r11 TSC ticks per write  r12 next deadline
# r13 r14 links  r15 random state  rdi page  rsi pages or writes left
# rax content state  rcx words left  rbx rdx rbp scratch
        .code64
long:   movl    $TABLE, %r8d
        xorl    %r9d, %r9d
        xorl    %r11d, %r11d
        movq    T_SEED(%r8), %r15
        cmpq    $0, T_NS_PER_WRITE(%r8)
        je      prefill

# TSC ticks in 10 ms of the ACPI timer, then ticks per write
        movl    $PM_TIMER, %edx
        inl     %dx, %eax
        movl    %eax, %ebp
        rdtsc
        shlq    $32, %rdx
        leaq    (%rax, %rdx), %r12
        movl    $PM_TIMER, %edx
1:      inl     %dx, %eax
        subl    %ebp, %eax
        andl    $0xFFFFFF, %eax
        cmpl    $PM_TEN_MS, %eax
        jb      1b
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    %rax, %rbx
        subq    %r12, %rax
        mulq    T_NS_PER_WRITE(%r8)
        movl    $10000000, %ecx
        divq    %rcx
        movq    %rax, %r11
        movq    %rbx, %r12

prefill:
        leaq    HEADER_BYTES(%r8), %r10
1:      cmpl    $0, E_PATTERN(%r10)
        je      ready
        cmpl    $0, E_FILL(%r10)
        je      3f
        movq    E_START(%r10), %rdi
        movq    E_PAGES(%r10), %rsi
2:      leaq    3(%rdi), %rax
        movl    $512, %ecx
        leaq    4f(%rip), %r14
        jmp     fill
4:      addq    $4096, %rdi
        decq    %rsi
        jnz     2b
3:      addq    $ENTRY_BYTES, %r10
        jmp     1b

ready:  movabsq $READY_MAGIC, %rax
        movq    %rax, STATUS

sweep:  leaq    HEADER_BYTES(%r8), %r10
entry:  movl    E_PATTERN(%r10), %eax
        movq    E_START(%r10), %rdi
        movq    E_PAGES(%r10), %rsi
        cmpl    $0, %eax
        je      swept
        cmpl    $P_SILENT, %eax
        je      silent
        cmpl    $P_FLIP, %eax
        je      flip
        cmpl    $P_COUNTER, %eax
        je      counter
        cmpl    $P_WORDS, %eax
        je      words
        cmpl    $P_PAGES, %eax
        je      pages
        cmpl    $P_ZEROING, %eax
        je      zeroing
next:   addq    $ENTRY_BYTES, %r10
        jmp     entry

swept:  incq    %r9
        cmpq    $0, T_PUBLISH(%r8)
        je      1f
        invlpg  STATUS
        movq    %r9, STATUS + 8
1:      cmpq    T_SWEEPS(%r8), %r9
        jne     sweep
2:      hlt
        jmp     2b

silent: invlpg  (%rdi)
        movl    E_WORDS(%r10), %ecx
        movq    %rdi, %rbx
1:      movq    (%rbx), %rax
        movq    %rax, (%rbx)
        addq    $8, %rbx
        decl    %ecx
        jnz     1b
        leaq    2f(%rip), %r13
        jmp     pace
2:      addq    $4096, %rdi
        decq    %rsi
        jnz     silent
        jmp     next

flip:   movl    %r9d, %eax
        andl    $1, %eax
        leaq    1(%rax, %rdi), %rax
        movl    E_WORDS(%r10), %ecx
        leaq    1f(%rip), %r14
        jmp     fill
1:      leaq    2f(%rip), %r13
        jmp     pace
2:      addq    $4096, %rdi
        decq    %rsi
        jnz     flip
        jmp     next

# the word at (page number modulo 512)
counter:
        movq    %rdi, %rbx
        shrq    $12, %rbx
        andl    $511, %ebx
        invlpg  (%rdi)
        incq    (%rdi, %rbx, 8)
        leaq    1f(%rip), %r13
        jmp     pace
1:      addq    $4096, %rdi
        decq    %rsi
        jnz     counter
        jmp     next

words:  movl    E_WRITES(%r10), %esi
1:      leaq    2f(%rip), %r14
        jmp     random
2:      movq    E_PAGES(%r10), %rax
        shlq    $9, %rax
        mulq    %r15
        movq    E_START(%r10), %rdi
        leaq    (%rdi, %rdx, 8), %rdi
        invlpg  (%rdi)
        movq    %r15, (%rdi)
        leaq    3f(%rip), %r13
        jmp     pace
3:      decq    %rsi
        jnz     1b
        jmp     next

pages:  movl    E_WRITES(%r10), %esi
1:      leaq    2f(%rip), %r14
        jmp     random
2:      movq    E_PAGES(%r10), %rax
        mulq    %r15
        shlq    $12, %rdx
        movq    E_START(%r10), %rdi
        addq    %rdx, %rdi
        movq    %r15, %rax
        movl    E_WORDS(%r10), %ecx
        leaq    3f(%rip), %r14
        jmp     fill
3:      leaq    4f(%rip), %r13
        jmp     pace
4:      decq    %rsi
        jnz     1b
        jmp     next

# every other page is zero; which ones changes from sweep to sweep
zeroing:
        movq    %rdi, %rax
        shrq    $12, %rax
        addq    %r9, %rax
        testb   $1, %al
        jz      1f
        movq    %rdi, %rbx
        invlpg  (%rdi)
        xorl    %eax, %eax
        movl    $512, %ecx
        rep stosq
        movq    %rbx, %rdi
        invlpg  (%rdi)
        movq    %rax, (%rdi)
        jmp     2f
1:      leaq    1(%rdi), %rax
        movl    E_WORDS(%r10), %ecx
        leaq    2f(%rip), %r14
        jmp     fill
2:      leaq    3f(%rip), %r13
        jmp     pace
3:      addq    $4096, %rdi
        decq    %rsi
        jnz     zeroing
        jmp     next

# rax seed, ecx words, rdi page, r14 link: xorshift64 seeded by a Weyl-like product
fill:   movabsq $0x9E3779B97F4A7C15, %rdx
        imulq   %rdx, %rax
        movq    %rdi, %rbx
        invlpg  (%rdi)
1:      movq    %rax, %rdx
        shlq    $13, %rdx
        xorq    %rdx, %rax
        movq    %rax, %rdx
        shrq    $7, %rdx
        xorq    %rdx, %rax
        movq    %rax, %rdx
        shlq    $17, %rdx
        xorq    %rdx, %rax
        movq    %rax, (%rbx)
        addq    $8, %rbx
        decl    %ecx
        jnz     1b
        invlpg  (%rdi)
        movq    %rax, -8(%rbx)
        jmp     *%r14

random: movq    %r15, %rdx
        shlq    $13, %rdx
        xorq    %rdx, %r15
        movq    %r15, %rdx
        shrq    $7, %rdx
        xorq    %rdx, %r15
        movq    %r15, %rdx
        shlq    $17, %rdx
        xorq    %rdx, %r15
        jmp     *%r14

# wait until the deadline; after a pause of the guest start anew instead of catching up
pace:   testq   %r11, %r11
        jz      3f
        addq    %r11, %r12
1:      rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    %rax, %rdx
        subq    %r12, %rdx
        jns     2f
        pause
        jmp     1b
2:      movq    %r11, %rbx
        shlq    $12, %rbx
        cmpq    %rbx, %rdx
        jb      3f
        movq    %rax, %r12
3:      jmp     *%r13
