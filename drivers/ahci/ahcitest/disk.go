package ahcitest

import (
	"encoding/binary"
	"fmt"
)

// Disk is a medium: what is written, and what a power cut would leave.
type Disk struct {
	Shift     uint8 // a sector has 1<<Shift bytes
	Now, Safe []byte
	Trimmed   []int // how often each sector was discarded
	Depth     int   // of its queue; 0: it has none
	Cache     bool  // volatile, for writing
	FUA, Trim bool
	Serial    string
	Signature uint32 // 0: a disk's
	Stopped   bool   // it does not become ready
	NoLog     bool   // it does not tell which queued command failed
	Old       bool   // it has addresses of 28 bits
	// Fail returns the error register of a command that fails; 0, or nil: it does not.
	Fail func(c Command) uint8
	// Hold tells of commands that are not done.
	Hold func(c Command) bool
	// Lie may change the log of an error.
	Lie func(log *[4]uint8)

	// Of a CD drive: its disc, or nil; whether that is new; how often it still says that it
	// does not turn yet.
	Disc     []byte
	New      bool
	Starting int
	key      uint8 // sense, with its code
	code     uint8

	// Seen counts what was done, by opcode.
	Seen [256]int
	// Resets counts those of its line.
	Resets int
}

// NewDisk makes a medium of so many sectors.
func NewDisk(sectors int, shift uint8) *Disk {
	return &Disk{Shift: shift, Now: make([]byte, sectors<<shift), Safe: make([]byte, sectors<<shift), Trimmed: make([]int, sectors),
		Depth: 32, Cache: true, FUA: true, Trim: true, Serial: "12345"}
}

// Command is what the driver asks for.
type Command struct {
	Slot, Op uint8
	LBA      uint64
	Count    int // sectors
	Tag      uint8
	FUA      bool

	write    bool
	packet   []byte
	features uint16
	spans    []span
}

type span struct{ addr, n uint64 }

// read finds a command in memory.
func (p *port) read(slot uint8) Command {
	l32 := func(a uint64) uint32 {
		page, off := p.d.Host.At(a)
		return page.Load32(off)
	}
	h := p.clb + 32*uint64(slot)
	first, table := l32(h), uint64(l32(h+8))|uint64(l32(h+12))<<32
	f := [4]uint32{l32(table), l32(table + 4), l32(table + 8), l32(table + 12)}
	if first&0x1f != 5 || table&127 != 0 || f[0]&0xffff != 0x8027 || l32(h+4) != 0 {
		panic(fmt.Sprintf("ahcitest: header %#x, table at %#x with % #x", first, table, f))
	}
	c := Command{Slot: slot, Op: uint8(f[0] >> 16), LBA: uint64(f[1]&0xffffff) | uint64(f[2]&0xffffff)<<24, Count: int(f[3] & 0xffff),
		write: first>>6&1 != 0, features: uint16(f[0]>>24 | f[2]>>24<<8)}
	switch c.Op {
	case 0x60, 0x61:
		c.Tag, c.Count, c.FUA = uint8(c.Count>>3), int(c.features), f[1]>>31 != 0
		fallthrough
	case 0x25, 0x35, 0x3d:
		if f[1]>>30&1 == 0 {
			panic("ahcitest: an address that is none of LBA's")
		}
	}
	if packet := first>>5&1 != 0; packet != (c.Op == 0xa0) {
		panic(fmt.Sprintf("ahcitest: header %#x of command %#x", first, c.Op))
	} else if packet {
		page, off := p.d.Host.At(table + 0x40)
		c.packet = make([]byte, 16)
		page.Read(off, c.packet)
	}
	c.FUA = c.FUA || c.Op == 0x3d
	for i := range uint64(first >> 16) {
		at := table + 0x80 + 16*i
		s := span{uint64(l32(at)) | uint64(l32(at+4))<<32, uint64(l32(at+12)&(1<<22-1)) + 1}
		if s.addr&1 != 0 || s.n&1 != 0 || s.addr&4095+s.n > 4096 {
			panic(fmt.Sprintf("ahcitest: PRD %d has %d bytes at %#x", i, s.n, s.addr))
		}
		c.spans = append(c.spans, s)
	}
	return c
}

// move copies between memory and a part of the medium.
func (p *port) move(c Command, b []byte, in bool) {
	if c.write == in {
		panic(fmt.Sprintf("ahcitest: command %#x in the wrong direction", c.Op))
	}
	for _, s := range c.spans {
		page, off := p.d.Host.At(s.addr)
		if in {
			page.Write(off, b[:s.n])
		} else {
			page.Read(off, b[:s.n])
		}
		b = b[s.n:]
	}
	if len(b) != 0 {
		panic(fmt.Sprintf("ahcitest: command %#x is %d bytes short of memory", c.Op, len(b)))
	}
}

const abort = 4

// do does a command, and returns the error register.
func (k *Disk) do(p *port, c Command) uint8 {
	k.Seen[c.Op]++
	if k.Fail != nil {
		if e := k.Fail(c); e != 0 {
			return e
		}
	}
	if (k.Signature == cdSignature) != (c.Op == 0xa0 || c.Op == 0xa1) {
		return abort
	}
	switch c.Op {
	case 0xa0:
		return k.do12(p, c)
	case 0xa1:
		p.move(c, k.identity(), true)
	case 0xec:
		p.move(c, k.identity(), true)
	case 0x2f:
		if c.LBA != 0x10 || k.NoLog || c.Count != 1 {
			return abort
		}
		if k.Lie != nil {
			k.Lie(&p.log)
		}
		b := make([]byte, 512)
		copy(b, p.log[:])
		p.failed = false
		p.move(c, b, true)
	case 0xea:
		copy(k.Safe, k.Now)
	case 0x25, 0x35, 0x3d, 0x60, 0x61:
		if c.Count == 0 || c.LBA+uint64(c.Count) > uint64(len(k.Trimmed)) {
			return 1 << 4
		}
		from, to := c.LBA<<k.Shift, (c.LBA+uint64(c.Count))<<k.Shift
		read := c.Op == 0x25 || c.Op == 0x60
		p.move(c, k.Now[from:to], read)
		if c.FUA && !k.FUA {
			panic("ahcitest: FUA to a disk that has none")
		}
		if !read && (c.FUA || !k.Cache) {
			copy(k.Safe[from:to], k.Now[from:to])
		}
	case 0x06:
		if c.features != 1 || c.Count != 1 || !k.Trim {
			return abort
		}
		b := make([]byte, 512)
		p.move(c, b, false)
		for i := 0; i < 512; i += 8 {
			e := binary.LittleEndian.Uint64(b[i:])
			for j := range e >> 48 {
				k.Trimmed[e&(1<<48-1)+j]++
			}
		}
	default:
		return abort
	}
	return 0
}

func (k *Disk) identity() []byte {
	b := make([]byte, 512)
	set := func(word int, v uint16) { binary.LittleEndian.PutUint16(b[2*word:], v) }
	text := func(word, n int, s string) {
		s = fmt.Sprintf("%-*s", 2*n, s)
		for i := range n {
			b[2*(word+i)], b[2*(word+i)+1] = s[2*i+1], s[2*i]
		}
	}
	text(10, 10, k.Serial)
	text(27, 20, "Model\x01 of ahcitest")
	if k.Signature == cdSignature {
		set(0, 2<<14|5<<8)
		return b
	}
	if k.Depth > 0 {
		set(75, uint16(k.Depth-1))
		set(76, 1<<8)
	}
	set(82, 1<<5)
	set(83, 1<<14|1<<10|1<<13)
	if k.Old {
		set(83, 1<<14)
	}
	set(84, 1<<14)
	if k.FUA {
		set(84, 1<<14|1<<6)
	}
	if k.Cache {
		set(85, 1<<5)
	}
	set(87, 1<<14)
	binary.LittleEndian.PutUint64(b[200:], uint64(len(k.Trimmed)))
	if k.Shift != 9 {
		set(106, 1<<14|1<<12)
		binary.LittleEndian.PutUint32(b[234:], 1<<k.Shift/2)
	} else {
		set(106, 1<<14|1<<13|3) // eight in a physical one
	}
	if k.Trim {
		set(169, 1)
	}
	return b
}
