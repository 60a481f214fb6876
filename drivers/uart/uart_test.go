package uart

import (
	"bytes"
	"testing"
)

// model is a 16550: registers by DLAB, FIFOs, a line that may be stuck.
type model struct {
	reg     [8]uint8
	dll     [2]uint8
	sent    []byte
	rx      []byte
	fifo    int
	stuck   bool
	overrun bool
	absent  bool
}

func (m *model) In8(port uint16) uint8 {
	r := port - 0x3f8
	switch {
	case m.absent:
		return 0xff
	case r == regData && len(m.rx) > 0:
		b := m.rx[0]
		m.rx = m.rx[1:]
		return b
	case r == regLSR:
		v := uint8(0)
		if len(m.rx) > 0 {
			v |= lsrData
		}
		if !m.stuck {
			m.fifo = 0
		}
		if m.fifo == 0 {
			v |= lsrEmpty
		}
		return v
	}
	return m.reg[r]
}

func (m *model) Out8(port uint16, v uint8) {
	r := port - 0x3f8
	dlab := m.reg[regLCR]&lcrDLAB != 0
	switch {
	case r <= regIER && dlab:
		m.dll[r] = v
	case r == regData:
		if m.fifo == fifoSize {
			m.overrun = true
		}
		m.fifo++
		m.sent = append(m.sent, v)
	default:
		m.reg[r] = v
	}
}

func TestOpen(t *testing.T) {
	m := &model{}
	if _, err := Open(m, 0x3f8, Line{9600, 7, 'e', 2}); err != nil {
		t.Fatal(err)
	}
	if m.dll != [2]uint8{12, 0} || m.reg[regLCR] != 0x1e {
		t.Errorf("divisor %v, LCR %#x", m.dll, m.reg[regLCR])
	}
	if _, err := Open(&model{absent: true}, 0x3f8, Line{115200, 8, 'n', 1}); err == nil {
		t.Error("a port that is not there was opened")
	}
	for _, l := range []Line{{0, 8, 'n', 1}, {-1, 8, 'n', 1}, {1000000, 8, 'n', 1}, {115200, 9, 'n', 1}, {115200, 8, 'x', 1}, {115200, 8, 'n', 3}} {
		if _, err := Open(m, 0x3f8, l); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

func TestTransferKeepsOrderAndNeverOverruns(t *testing.T) {
	m := &model{}
	p, err := Open(m, 0x3f8, Line{115200, 8, 'n', 1})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789"), 50)
	if n, err := p.Write(want); n != len(want) || err != nil {
		t.Fatal(n, err)
	}
	if !bytes.Equal(m.sent, want) || m.overrun {
		t.Errorf("sent %q, overrun %v", m.sent, m.overrun)
	}
	m.rx = []byte("hello")
	var b [3]byte
	if n := p.Receive(b[:]); n != 3 || string(b[:]) != "hel" {
		t.Errorf("%d %q", n, b)
	}
}

func TestDeadLine(t *testing.T) {
	m := &model{}
	p, err := Open(m, 0x3f8, Line{115200, 8, 'n', 1})
	if err != nil {
		t.Fatal(err)
	}
	m.stuck = true
	n, err := p.Write(make([]byte, 100))
	if n != fifoSize || err == nil {
		t.Errorf("%d bytes taken by a dead line, error %v", n, err)
	}
}
