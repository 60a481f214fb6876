package uart

import (
	"bytes"
	"testing"
	"time"
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
	dlab := m.reg[regLCR]&lcrDLAB != 0
	switch {
	case m.absent:
		return 0xff
	case r == regData && len(m.rx) > 0:
		b := m.rx[0]
		m.rx = m.rx[1:]
		return b
	case dlab && r <= regIER:
		return m.dll[r]
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

var line8n1 = Line{Baud: 115200, DataBits: 8, Parity: 'n', StopBits: 1}

// TestOpenAuto: the port goes on as firmware had it, whoever changed it meanwhile.
func TestOpenAuto(t *testing.T) {
	for _, c := range []struct {
		now, was Setting
		want     Setting
	}{
		{Setting{6, 0x1b}, Setting{}, Setting{6, 0x1b}},
		{Setting{1, 3}, Setting{0x180, 0x1e}, Setting{0x180, 0x1e}},
		{Setting{12, 3 | lcrDLAB}, Setting{}, Setting{12, 3}},
	} {
		m := &model{dll: [2]uint8{uint8(c.now.Divisor), uint8(c.now.Divisor >> 8)}}
		m.reg[regLCR] = c.now.Control
		p, err := Open(m, 0x3f8, Line{Was: c.was})
		if err != nil {
			t.Fatal(err)
		}
		if got := (Setting{uint16(m.dll[1])<<8 | uint16(m.dll[0]), m.reg[regLCR]}); got != c.want {
			t.Errorf("%+v with %+v before: %+v", c.now, c.was, got)
		}
		if p.Write([]byte("x")); string(m.sent) != "x" || m.reg[regIER] != 0 {
			t.Errorf("sent %q, interrupts %#x", m.sent, m.reg[regIER])
		}
	}
}

func TestFillTime(t *testing.T) {
	for _, c := range []struct {
		l    Line
		want time.Duration
	}{
		{line8n1, 972222}, {Line{Baud: 9600}, 11666666}, {Line{}, 972222}, {Line{Was: Setting{Divisor: 12}}, 11666666},
		{Line{Was: Setting{Divisor: 0xffff}}, 112 * time.Second},
	} {
		if got := c.l.FillTime(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.l, got, c.want)
		}
	}
}

func TestOpen(t *testing.T) {
	m := &model{}
	if _, err := Open(m, 0x3f8, Line{9600, 7, 'e', 2, Setting{}}); err != nil {
		t.Fatal(err)
	}
	if m.dll != [2]uint8{12, 0} || m.reg[regLCR] != 0x1e {
		t.Errorf("divisor %v, LCR %#x", m.dll, m.reg[regLCR])
	}
	if _, err := Open(&model{absent: true}, 0x3f8, line8n1); err == nil {
		t.Error("a port that is not there was opened")
	}
	for _, l := range []Line{
		{Baud: -1, DataBits: 8, Parity: 'n', StopBits: 1}, {Baud: 1000000, DataBits: 8, Parity: 'n', StopBits: 1},
		{Baud: 115200, DataBits: 9, Parity: 'n', StopBits: 1}, {Baud: 115200, DataBits: 8, Parity: 'x', StopBits: 1},
		{Baud: 115200, DataBits: 8, Parity: 'n', StopBits: 3},
	} {
		if _, err := Open(m, 0x3f8, l); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

func TestTransferKeepsOrderAndNeverOverruns(t *testing.T) {
	m := &model{}
	p, err := Open(m, 0x3f8, line8n1)
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
	p, err := Open(m, 0x3f8, line8n1)
	if err != nil {
		t.Fatal(err)
	}
	m.stuck = true
	n, err := p.Write(make([]byte, 100))
	if n != fifoSize || err == nil {
		t.Errorf("%d bytes taken by a dead line, error %v", n, err)
	}
}
