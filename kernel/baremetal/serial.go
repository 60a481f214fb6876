//go:build tamago

package baremetal

// The console of last resort: a serial port, polled. The console driver proper
// takes over once Go runs (kernel/tty.go).

// COM1 is the port that the boot uses.
const COM1 = 0x3f8

const (
	com1       = COM1
	lineStatus = 5
	txEmpty    = 0x20
)

var (
	conlock uint32
	dying   uint32

	// conBase is the port; 0: there is no console.
	conBase uint64 = com1

	// FirmwareDivisor and FirmwareLCR are how COM1 was set up before us.
	FirmwareDivisor uint16
	FirmwareLCR     uint8
)

// SetConsole names the serial port for what is said without Go, such as why the
// machine dies; 0 is none. The port is set up.
func SetConsole(base uint16) { conBase = uint64(base) }

// serialInit programs the line to 115200 8n1: the loader may have left anything.
func serialInit() {
	FirmwareLCR = in8(com1+3) &^ 0x80
	out8(com1+3, 0x80)
	FirmwareDivisor = uint16(in8(com1)) | uint16(in8(com1+1))<<8
	out8(com1+3, FirmwareLCR)
	out8(com1+1, 0)    // no interrupts
	out8(com1+3, 0x80) // divisor
	out8(com1, 1)
	out8(com1+1, 0)
	out8(com1+3, 3) // 8n1
	out8(com1+2, 7) // FIFO
	out8(com1+4, 3) // DTR, RTS
}

func putc(b byte) {
	base := uint16(conBase)
	if base == 0 {
		return
	}
	for i := 0; i < 100_000 && in8(base+lineStatus)&txEmpty == 0; i++ {
	}
	out8(base, b)
}

func conLock() {
	if dying == 0 {
		lock(&conlock)
	}
}

func conUnlock() {
	if dying == 0 {
		unlock(&conlock)
	}
}

func serialWrite(p, n uint64) {
	conLock()
	for i := uint64(0); i < n; i++ {
		b := ld8(p + i)
		if b == '\n' {
			putc('\r')
		}
		putc(b)
	}
	conUnlock()
}

func puts(s string) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' {
			putc('\r')
		}
		putc(s[i])
	}
}

func putHex(v uint64) {
	for i := 60; i >= 0; i -= 4 {
		putc("0123456789abcdef"[v>>uint(i)&15])
	}
}

func putDec(v uint64) {
	if v > 9 {
		putDec(v / 10)
	}
	putc('0' + byte(v%10))
}

func print2(s string, v uint64) {
	conLock()
	puts(s)
	putDec(v)
	puts("\n")
	conUnlock()
}
