// Package uart drives a 16550A-compatible serial port: transmit by FIFO, receive
// by interrupt or polled. Reference: National Semiconductor PC16550D data sheet, section 8.
package uart

import (
	"fmt"
	"time"
)

// Ports is the I/O space that the port's eight registers are in.
type Ports interface {
	In8(port uint16) uint8
	Out8(port uint16, v uint8)
}

// Registers, as offsets from the base port.
const (
	regData    = 0 // RBR, THR; DLL with DLAB
	regIER     = 1 // interrupt enable; DLM with DLAB
	regFCR     = 2 // FIFO control (write), IIR (read)
	regLCR     = 3
	regMCR     = 4
	regLSR     = 5
	regScratch = 7

	lcrDLAB   = 1 << 7
	ierRx     = 1 << 0
	fcrEnable = 7    // FIFOs on and cleared, receive trigger at one byte
	mcrReady  = 0x0b // DTR, RTS, OUT2: interrupts reach the bus
	lsrData   = 1 << 0
	lsrEmpty  = 1 << 5

	fifoSize = 16
	// A port that takes longer than this many looks to take a byte is not there
	// any more; at 115200 baud a full FIFO drains in 1.4 ms.
	patience = 1 << 20
)

// Line is the line's parameters.
type Line struct {
	Baud     int  // divides 115200; 0: the rest doesn't count, the port is as Was says
	DataBits int  // 5 to 8
	Parity   byte // 'n', 'o', 'e', 'm', 's'
	StopBits int  // 1 or 2
	Was      Setting
}

// Setting is how firmware set a port up; without a Divisor, as the port is now.
type Setting struct {
	Divisor uint16 // of 115200 baud
	Control uint8  // the line control register
}

// Was reads the setting of the port at base.
func Was(io Ports, base uint16) Setting {
	control := io.In8(base+regLCR) &^ lcrDLAB
	io.Out8(base+regLCR, control|lcrDLAB)
	s := Setting{uint16(io.In8(base+regIER))<<8 | uint16(io.In8(base+regData)), control}
	io.Out8(base+regLCR, control)
	return s
}

// FillTime is how long it takes at least until the receive FIFO is full: who
// polls the port does it as often.
func (l Line) FillTime() time.Duration {
	baud := l.Baud
	if baud <= 0 {
		baud = 115200
		if l.Was.Divisor != 0 {
			baud /= int(l.Was.Divisor)
		}
	}
	const bits = 7 // of the shortest frame: start, 5 data, stop
	return time.Second * fifoSize * bits / time.Duration(max(baud, 1))
}

// Port is one serial port. Its methods are not safe for concurrent use; receive
// and transmit may be two goroutines.
type Port struct {
	io   Ports
	base uint16
	room int // what the transmit FIFO can still take, if the port keeps up
	lost uint64
}

// Open programs the port at base. The error says that there is none.
func Open(io Ports, base uint16, l Line) (*Port, error) {
	p := &Port{io: io, base: base}
	var set Setting
	if l.Baud == 0 {
		set = l.Was
	} else {
		lcr, err := l.control()
		if err != nil {
			return nil, err
		}
		set = Setting{uint16(115200 / l.Baud), lcr}
	}
	for _, v := range []uint8{0x5a, 0xa5} {
		p.out(regScratch, v)
		if got := p.in(regScratch); got != v {
			return nil, fmt.Errorf("serial port %#x: no 16550 there: scratch register holds %#x instead of %#x", base, got, v)
		}
	}
	if set.Divisor == 0 {
		set = Was(io, base)
	}
	p.out(regLCR, set.Control&^lcrDLAB)
	p.out(regIER, 0)
	p.out(regLCR, lcrDLAB)
	p.out(regData, uint8(set.Divisor))
	p.out(regIER, uint8(set.Divisor>>8))
	p.out(regLCR, set.Control&^lcrDLAB)
	p.out(regFCR, fcrEnable)
	p.out(regMCR, mcrReady)
	return p, nil
}

// control returns the line control register's value.
func (l Line) control() (uint8, error) {
	if l.Baud <= 0 || 115200%l.Baud != 0 {
		return 0, fmt.Errorf("serial line: %d baud does not divide 115200", l.Baud)
	}
	if l.DataBits < 5 || l.DataBits > 8 || l.StopBits < 1 || l.StopBits > 2 {
		return 0, fmt.Errorf("serial line: %d data bits and %d stop bits: 5 to 8 and 1 or 2 exist", l.DataBits, l.StopBits)
	}
	parity := map[byte]uint8{'n': 0, 'o': 1 << 3, 'e': 3 << 3, 'm': 5 << 3, 's': 7 << 3}
	pv, ok := parity[l.Parity]
	if !ok {
		return 0, fmt.Errorf("serial line: parity %q: one of n, o, e, m, s", l.Parity)
	}
	return uint8(l.DataBits-5) | uint8(l.StopBits-1)<<2 | pv, nil
}

func (p *Port) in(reg uint16) uint8     { return p.io.In8(p.base + reg) }
func (p *Port) out(reg uint16, v uint8) { p.io.Out8(p.base+reg, v) }

// EnableReceive lets the port interrupt when it has a byte.
func (p *Port) EnableReceive() { p.out(regIER, ierRx) }

// Receive reads what has arrived, and ends the interrupt.
func (p *Port) Receive(b []byte) (n int) {
	for n < len(b) && p.in(regLSR)&lsrData != 0 {
		b[n] = p.in(regData)
		n++
	}
	return n
}

// Write sends b, waiting for the line as long as it moves. Bytes that a dead port
// doesn't take are counted as lost.
func (p *Port) Write(b []byte) (int, error) {
	for i := range b {
		if p.room == 0 {
			for k := 0; p.in(regLSR)&lsrEmpty == 0; k++ {
				if k == patience {
					p.lost += uint64(len(b) - i)
					return i, fmt.Errorf("serial port %#x takes no more bytes (%d lost)", p.base, p.lost)
				}
			}
			p.room = fifoSize
		}
		p.out(regData, b[i])
		p.room--
	}
	return len(b), nil
}
