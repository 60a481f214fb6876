package emulate

import (
	"encoding/binary"
	"errors"
	"testing"

	"nidus/mm"
)

var errFault = errors.New("page fault")

// fakeMem is a flat 64 KiB at base; elsewhere, and for writes to readOnly, is a fault.
type fakeMem struct {
	base     uint64
	b        [0x10000]byte
	readOnly bool
	writes   int
}

func (m *fakeMem) at(a mm.GuestVirt, n int) ([]byte, error) {
	off := uint64(a) - m.base
	if off > uint64(len(m.b)-n) {
		return nil, errFault
	}
	return m.b[off:][:n], nil
}
func (m *fakeMem) Read(a mm.GuestVirt, p []byte) error {
	b, err := m.at(a, len(p))
	copy(p, b)
	return err
}
func (m *fakeMem) Write(a mm.GuestVirt, p []byte) error {
	b, err := m.at(a, len(p))
	if err == nil && m.readOnly {
		err = errFault
	}
	if err == nil {
		copy(b, p)
		m.writes++
	}
	return err
}

type fakePorts struct{ last uint32 }

func (f *fakePorts) In(p uint16, n int) (uint32, error) { f.last++; return uint32(p)<<8 | f.last, nil }
func (f *fakePorts) Out(p uint16, n int, v uint32) error {
	f.last = uint32(p)<<16 | v&0xffff
	return nil
}

const (
	page  = 0xfee00000 // RBX in every case below
	init8 = 0x8877665544332211
)

func newCPU(mode int) (*CPU, *fakeMem) {
	m := &fakeMem{base: page}
	binary.LittleEndian.PutUint64(m.b[0x80:], init8)
	c := &CPU{Mode: mode, Mem: m, Ports: &fakePorts{}, RIP: 0x1000, RFLAGS: 2}
	c.Regs = [16]uint64{0xa1a2a3a4a5a6a7a8, 4, 0xd1d2d3d4d5d6d7d8, page, 0x5000, page, page + 0x80, page + 0x100, 0x8182838485868788}
	for i := range c.Segs {
		c.Segs[i].Limit = 0xffffffff
	}
	return c, m
}

func TestMemoryOperands(t *testing.T) {
	const keep = init8
	for _, tt := range []struct {
		name  string
		code  []byte
		mem   uint64 // at 0x80
		reg   int
		want  uint64
		flags uint64
	}{
		{"mov [rbx+0x80], eax", []byte{0x89, 0x83, 0x80, 0, 0, 0}, 0x88776655a5a6a7a8, 1, 4, 0},
		{"mov [rbx+0x80], rax", []byte{0x48, 0x89, 0x83, 0x80, 0, 0, 0}, 0xa1a2a3a4a5a6a7a8, 1, 4, 0},
		{"mov [rbx+0x80], ah", []byte{0x88, 0xa3, 0x80, 0, 0, 0}, 0x88776655443322a7, 1, 4, 0},
		{"mov [rbx+0x80], sil", []byte{0x40, 0x88, 0xb3, 0x80, 0, 0, 0}, 0x8877665544332280, 1, 4, 0},
		{"mov [rbx+0x80], r8w", []byte{0x66, 0x44, 0x89, 0x83, 0x80, 0, 0, 0}, 0x8877665544338788, 1, 4, 0},
		{"mov eax, [rbx+0x80]", []byte{0x8b, 0x83, 0x80, 0, 0, 0}, keep, 0, 0x44332211, 0},
		{"mov ax, [rsi]", []byte{0x66, 0x8b, 0x06}, keep, 0, 0xa1a2a3a4a5a62211, 0},
		{"mov ah, [rsi]", []byte{0x8a, 0x26}, keep, 0, 0xa1a2a3a4a5a611a8, 0},
		{"mov r8, [rbx+rcx*8+0x60]", []byte{0x4c, 0x8b, 0x44, 0xcb, 0x60}, keep, 8, init8, 0},
		{"mov dword [rsi], imm", []byte{0xc7, 0x06, 0xff, 0xff, 0xff, 0xff}, 0x88776655ffffffff, 1, 4, 0},
		{"mov qword [rsi], -1", []byte{0x48, 0xc7, 0x06, 0xff, 0xff, 0xff, 0xff}, ^uint64(0), 1, 4, 0},
		{"mov byte [rsi], imm", []byte{0xc6, 0x06, 0x99}, 0x8877665544332299, 1, 4, 0},
		{"mov eax, moffs", []byte{0xa1, 0x80, 0, 0xe0, 0xfe, 0, 0, 0, 0}, keep, 0, 0x44332211, 0},
		{"mov moffs, al", []byte{0xa2, 0x80, 0, 0xe0, 0xfe, 0, 0, 0, 0}, 0x88776655443322a8, 1, 4, 0},
		{"movzx eax, byte", []byte{0x0f, 0xb6, 0x06}, keep, 0, 0x11, 0},
		{"movzx rax, word", []byte{0x48, 0x0f, 0xb7, 0x06}, keep, 0, 0x2211, 0},
		{"movsx rax, byte [rsi+7]", []byte{0x48, 0x0f, 0xbe, 0x46, 0x07}, keep, 0, 0xffffffffffffff88, 0},
		{"movsx eax, word [rsi+6]", []byte{0x0f, 0xbf, 0x46, 0x06}, keep, 0, 0xffff8877, 0},
		{"movsxd rax, [rsi+4]", []byte{0x48, 0x63, 0x46, 0x04}, keep, 0, 0xffffffff88776655, 0},
		{"and [rsi], ecx", []byte{0x21, 0x0e}, 0x8877665500000000, 1, 4, flagZF | flagPF},
		{"or byte [rsi], 0x80", []byte{0x80, 0x0e, 0x80}, 0x8877665544332291, 1, 4, flagSF},
		{"xor [rsi], rcx", []byte{0x48, 0x31, 0x0e}, 0x8877665544332215, 1, 4, flagSF},
		{"add [rsi], ecx", []byte{0x01, 0x0e}, 0x8877665544332215, 1, 4, 0},
		{"add al, [rsi]", []byte{0x02, 0x06}, keep, 0, 0xa1a2a3a4a5a6a7b9, flagSF},
		{"sub dword [rsi], imm8 -1", []byte{0x83, 0x2e, 0xff}, 0x8877665544332212, 1, 4, flagCF | flagAF | flagPF},
		{"lock add [rsi], ecx", []byte{0xf0, 0x01, 0x0e}, 0x8877665544332215, 1, 4, 0},
		{"cmp [rsi], al", []byte{0x38, 0x06}, keep, 0, 0xa1a2a3a4a5a6a7a8, flagCF | flagAF | flagPF},
		{"test byte [rsi], 0x10", []byte{0xf6, 0x06, 0x10}, keep, 1, 4, 0},
		{"inc dword [rsi]", []byte{0xff, 0x06}, 0x8877665544332212, 1, 4, flagPF},
		{"dec byte [rsi]", []byte{0xfe, 0x0e}, 0x8877665544332210, 1, 4, 0},
		{"neg dword [rsi]", []byte{0xf7, 0x1e}, 0x88776655bbccddef, 1, 4, flagCF | flagSF | flagAF},
		{"not word [rsi]", []byte{0x66, 0xf7, 0x16}, 0x887766554433ddee, 1, 4, 0},
		{"xchg [rsi], eax", []byte{0x87, 0x06}, 0x88776655a5a6a7a8, 0, 0x44332211, 0},
		{"xadd [rsi], ecx", []byte{0x0f, 0xc1, 0x0e}, 0x8877665544332215, 1, 0x44332211, 0},
		{"cmpxchg differs", []byte{0x0f, 0xb1, 0x0e}, keep, 0, 0x44332211, flagOF},
		{"bt [rsi], ecx", []byte{0x0f, 0xa3, 0x0e}, keep, 1, 4, flagCF},
		{"bts [rsi], imm 1", []byte{0x0f, 0xba, 0x2e, 0x01}, 0x8877665544332213, 1, 4, 0},
		{"btr [rsi], imm 36", []byte{0x0f, 0xba, 0x36, 0x24}, 0x8877665544332201, 1, 4, flagCF},
		{"btc [rsi], ecx", []byte{0x0f, 0xbb, 0x0e}, 0x8877665544332201, 1, 4, flagCF},
		{"mov [rip+x], al", []byte{0x88, 0x05, 0x7a, 0xf0, 0xdf, 0x7e}, keep, 1, 4, 0},
	} {
		c, m := newCPU(64)
		if tt.name[:9] == "mov [rip+" {
			c.RIP = page
			binary.LittleEndian.PutUint32(tt.code[2:], 0x80-6)
			tt.mem = 0x88776655443322a8
		}
		rip := c.RIP
		r, err := Step(c, append(tt.code, 0x90, 0x90))
		if err != nil || !r.Done || r.Len != len(tt.code) || c.RIP != rip+uint64(r.Len) {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
			continue
		}
		if got := binary.LittleEndian.Uint64(m.b[0x80:]); got != tt.mem {
			t.Errorf("%s: memory %#x, want %#x", tt.name, got, tt.mem)
		}
		if c.Regs[tt.reg] != tt.want {
			t.Errorf("%s: register %d is %#x, want %#x", tt.name, tt.reg, c.Regs[tt.reg], tt.want)
		}
		if c.RFLAGS != tt.flags|2 {
			t.Errorf("%s: flags %#x, want %#x", tt.name, c.RFLAGS, tt.flags|2)
		}
	}
}

func TestBitStringOffset(t *testing.T) {
	c, m := newCPU(64)
	c.Regs[1] = ^uint64(0) // bit -1: the top bit of the word before
	if _, err := Step(c, []byte{0x0f, 0xab, 0x0e}); err != nil || m.b[0x7f] != 0x80 {
		t.Errorf("%v %x", err, m.b[0x7c:0x84])
	}
	c.Regs[1] = 64
	if _, err := Step(c, []byte{0x0f, 0xab, 0x0e}); err != nil || m.b[0x88] != 1 {
		t.Errorf("%v %x", err, m.b[0x88])
	}
}

func TestModes(t *testing.T) {
	c, m := newCPU(32)
	c.Segs[FS].Base = 0x80
	if _, err := Step(c, []byte{0x64, 0x89, 0x0b}); err != nil || m.b[0x80] != 4 { // mov fs:[ebx], ecx
		t.Errorf("32-bit with FS: %v", err)
	}
	c.Segs[DS].Limit = page + 0x82
	var e *Exception
	if _, err := Step(c, []byte{0x89, 0x0e}); !errors.As(err, &e) || e.Vector != 13 || c.RIP != 0x1003 {
		t.Errorf("beyond the limit: %v", err)
	}
	c.Segs[SS].Limit = 0xff
	if _, err := Step(c, []byte{0x89, 0x4d, 0x00}); !errors.As(err, &e) || e.Vector != 12 {
		t.Errorf("beyond the stack's limit: %v", err)
	}
	c, m = newCPU(16)
	m.base = 0
	c.Segs[DS] = Segment{Base: 0x1000, Limit: 0xffff}
	c.Regs[3], c.Regs[6] = 0xfff0, 0x20 // wraps in 16 bits
	if _, err := Step(c, []byte{0x89, 0x08}); err != nil || m.b[0x1010] != 4 {
		t.Errorf("16-bit: %v", err)
	}
	c, _ = newCPU(64)
	c.Regs[3] = 1 << 47
	if _, err := Step(c, []byte{0x89, 0x0b}); !errors.As(err, &e) || e.Vector != 13 {
		t.Errorf("not canonical: %v", err)
	}
}

func TestStrings(t *testing.T) {
	c, m := newCPU(64)
	c.Regs[1] = 3
	r, err := Step(c, []byte{0xf3, 0xa5}) // rep movsd
	if err != nil || !r.Done || c.Regs[1] != 0 || c.Regs[6] != page+0x8c || c.Regs[7] != page+0x10c || [8]byte(m.b[0x100:]) != [8]byte(m.b[0x80:]) {
		t.Errorf("rep movsd: %+v %v %x", r, err, c.Regs)
	}
	c, m = newCPU(64)
	c.Regs[1] = MaxRep + 5
	r, err = Step(c, []byte{0xf3, 0xaa}) // rep stosb
	if err != nil || r.Done || c.RIP != 0x1000 || c.Regs[1] != 5 {
		t.Errorf("rep stosb, first slice: %+v %v", r, err)
	}
	r, err = Step(c, []byte{0xf3, 0xaa})
	if err != nil || !r.Done || c.RIP != 0x1002 || c.Regs[1] != 0 || m.b[0x100+MaxRep+4] != 0xa8 || m.b[0x100+MaxRep+5] != 0 {
		t.Errorf("rep stosb, second slice: %+v %v", r, err)
	}
	c, m = newCPU(64)
	c.Regs[1], c.Regs[7] = 5, page+0x10000-8
	_, err = Step(c, []byte{0xf3, 0xab}) // rep stosd into the end
	if err != errFault || c.Regs[1] != 3 || c.Regs[7] != page+0x10000 || c.RIP != 0x1000 {
		t.Errorf("fault in the middle: %v, %d left", err, c.Regs[1])
	}
	c, _ = newCPU(64)
	c.Regs[1] = 0
	if r, err := Step(c, []byte{0xf3, 0xa5}); err != nil || !r.Done || c.Regs[6] != page+0x80 {
		t.Errorf("rep of nothing: %v", err)
	}
	c, _ = newCPU(64)
	c.RFLAGS |= flagDF
	if _, err := Step(c, []byte{0xac}); err != nil || c.Regs[6] != page+0x7f || uint8(c.Regs[0]) != 0x11 { // lodsb
		t.Errorf("lodsb down: %v %#x", err, c.Regs[0])
	}
	c, m = newCPU(64)
	c.Regs[1], c.Regs[2] = 2, 0x60
	if _, err := Step(c, []byte{0xf3, 0x6c}); err != nil || m.b[0x100] != 1 || m.b[0x101] != 2 { // rep insb
		t.Errorf("rep insb: %v %x", err, m.b[0x100:0x104])
	}
	if _, err := Step(c, []byte{0x66, 0x6f}); err != nil || c.Ports.(*fakePorts).last != 0x602211 { // outsw
		t.Errorf("outsw: %v %#x", err, c.Ports.(*fakePorts).last)
	}
	m.readOnly = true
	if _, err := Step(c, []byte{0x6c}); err == nil {
		t.Error("insb to a read-only page")
	}
	if _, err := Step(c, []byte{0xe4, 0xf1}); err != nil || uint8(c.Regs[0]>>8) == 0 && c.Regs[0] == 0 {
		t.Errorf("in al, 0xf1: %v", err)
	}
	if _, err := Step(c, []byte{0xef}); err != nil || c.Ports.(*fakePorts).last>>16 != 0x60 {
		t.Errorf("out dx, eax: %v", err)
	}
}

func TestFaultsChangeNothing(t *testing.T) {
	for _, code := range [][]byte{{0x87, 0x06}, {0x01, 0x0e}, {0x0f, 0xc1, 0x0e}, {0x0f, 0xb1, 0x0e}, {0x0f, 0xab, 0x0e}, {0xff, 0x06}, {0xa5}, {0xaa}, {0x89, 0x06}} {
		c, m := newCPU(64)
		m.readOnly = true
		was := c.Regs
		if _, err := Step(c, code); err != errFault || c.Regs != was || c.RFLAGS != 2 || c.RIP != 0x1000 {
			t.Errorf("% x: %v", code, err)
		}
	}
}

func TestUnsupported(t *testing.T) {
	for _, code := range [][]byte{nil, {0x89}, {0x0f, 0x0b}, {0x0f, 0x01, 0xd9}, {0xff, 0xe0}, {0xf4}, {0x0f, 0x28, 0x06}, {0xa6}, {0xf0, 0x89, 0x06}, {0xcf}, {0xff, 0x36},
		{0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x89, 0x06}} {
		c, m := newCPU(64)
		was := c.Regs
		if _, err := Step(c, code); err == nil || c.Regs != was || c.RIP != 0x1000 || m.writes != 0 {
			t.Errorf("% x: %v", code, err)
		}
	}
	c, _ := newCPU(8)
	if _, err := Step(c, []byte{0x89, 0x06}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("mode 8: %v", err)
	}
}

// TestDecodedOnce: an instruction that was seen needs no decoding, and one that
// took its place is not mistaken for it.
func TestDecodedOnce(t *testing.T) {
	c, m := newCPU(64)
	a, b := []byte{0x89, 0x83, 0x80, 0, 0, 0}, []byte{0x88, 0x83, 0x90, 0, 0, 0}
	if n := testing.AllocsPerRun(100, func() { c.RIP = 0x1000; Step(c, a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	c.RIP = 0x1000
	if _, err := Step(c, b); err != nil || m.b[0x90] != 0xa8 {
		t.Errorf("other bytes at the same place: %v %#x", err, m.b[0x90])
	}
	c.Mode, c.RIP = 32, 0x1000
	// The same bytes are DEC EAX in 32-bit mode, and a REX prefix in 64-bit.
	code := []byte{0x48, 0x89, 0x06}
	if r, err := Step(c, code); err != nil || r.Len != 1 || uint32(c.Regs[0]) != 0xa5a6a7a7 {
		t.Errorf("32-bit: %+v %v %#x", r, err, c.Regs[0])
	}
	c.Mode, c.RIP = 64, 0x1000
	if r, err := Step(c, code); err != nil || r.Len != 3 {
		t.Errorf("64-bit: %+v %v", r, err)
	}
}

func FuzzStep(f *testing.F) {
	for _, s := range [][]byte{{0x89, 0x83, 0x80, 0, 0, 0}, {0xf3, 0xa5}, {0x0f, 0xba, 0x2e, 1}, {0x67, 0x0f, 0xb1, 0x0e}, {0xc4, 0xe2, 0x79, 0x18, 6}, {0x62, 0xf1, 0x7c, 0x48, 0x28, 6}, {0x64, 0x66, 0x87, 6}} {
		f.Add(s, uint8(0), uint64(4))
		f.Add(s, uint8(1), uint64(1<<40))
		f.Add(s, uint8(2), ^uint64(0))
	}
	f.Fuzz(func(t *testing.T, code []byte, mode uint8, rcx uint64) {
		c, m := newCPU(16 << (mode % 3))
		c.Regs[1] = rcx
		was, rip := c.Regs, c.RIP
		r, err := Step(c, code)
		if err != nil {
			if c.RIP != rip || c.RFLAGS != 2 {
				t.Fatalf("% x: %v, but RIP or flags moved", code, err)
			}
			var e *Exception
			if errors.Is(err, ErrUnsupported) && (c.Regs != was || m.writes != 0) {
				t.Fatalf("% x: unsupported, but something changed", code)
			} else if errors.As(err, &e) && e.Vector != 6 && e.Vector != 12 && e.Vector != 13 {
				t.Fatalf("exception %d", e.Vector)
			}
			return
		}
		first := c.Regs
		c2, _ := newCPU(16 << (mode % 3))
		c2.cache = c.cache
		c2.Regs[1] = rcx
		if r2, err := Step(c2, code); err != nil || r2 != r || c2.Regs != first {
			t.Fatalf("% x: from the cache: %+v %v", code, r2, err)
		}
		if r.Len < 1 || r.Len > maxInst || r.Done && c.RIP != rip+uint64(r.Len) || m.writes > MaxRep {
			t.Fatalf("% x: %+v", code, r)
		}
	})
}

func BenchmarkMOV(b *testing.B) {
	c, _ := newCPU(64)
	code := []byte{0x89, 0x83, 0x80, 0, 0, 0}
	b.ReportAllocs()
	for b.Loop() {
		Step(c, code)
	}
}

// Bytes that end too early are tried again when there are more: nothing of them is
// remembered.
func TestTruncated(t *testing.T) {
	c, _ := newCPU(64)
	code := []byte{0x66, 0x48, 0x8b, 0x84, 0x8e, 0, 0, 0, 0} // mov rax, [rsi+rcx*4]
	c.Regs[1] = 0
	for n := range code {
		if _, err := Step(c, code[:n]); !errors.Is(err, ErrUnsupported) || c.RIP != 0x1000 {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := Step(c, code); err != nil || c.Regs[0] != 0x8877665544332211 {
		t.Errorf("all: %v, RAX %#x", err, c.Regs[0])
	}
}

// Each iteration of a REP is a step of its own for RFLAGS.TF.
func TestSingleStep(t *testing.T) {
	c, _ := newCPU(64)
	c.Regs[1], c.RFLAGS = 3, c.RFLAGS|flagTF
	for left := uint64(2); ; left-- {
		r, err := Step(c, []byte{0xf3, 0xaa}) // rep stosb
		if err != nil || c.Regs[1] != left || r.Done != (left == 0) {
			t.Fatalf("%+v %v, %d left", r, err, c.Regs[1])
		}
		if left == 0 {
			break
		}
	}
}
