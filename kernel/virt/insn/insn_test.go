package insn

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

func bytesOf(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		code string
		bits int
		want Insn
	}{
		{"0f a2", 64, Insn{Op: CPUID, Len: 2}},
		{"f3 0f a2", 64, Insn{Op: CPUID, Len: 3, Rep: true}},
		{"48 0f a2", 64, Insn{Op: CPUID, Len: 3}},
		{"0f 01 d9", 64, Insn{Op: VMMCALL, Len: 3}},
		{"66 0f 01 d9", 16, Insn{Op: VMMCALL, Len: 4}},
		{"0f 01 c1", 32, Insn{Op: VMCALL, Len: 3}},
		{"0f 31", 64, Insn{Op: RDTSC, Len: 2}},
		{"0f 01 f9", 64, Insn{Op: RDTSCP, Len: 3}},
		{"0f 01 d1", 64, Insn{Op: XSETBV, Len: 3}},
		{"0f 01 c8", 64, Insn{Op: MONITOR, Len: 3}},
		{"0f 01 c9", 64, Insn{Op: MWAIT, Len: 3}},
		{"0f 01 d8", 64, Insn{Op: VirtInsn, Len: 3}},
		{"0f 08", 64, Insn{Op: INVD, Len: 2}},
		{"0f 09", 64, Insn{Op: WBINVD, Len: 2}},
		{"0f 30", 64, Insn{Op: WRMSR, Len: 2}},
		{"0f 32", 64, Insn{Op: RDMSR, Len: 2}},
		{"0f 33", 64, Insn{Op: RDPMC, Len: 2}},
		{"f4", 64, Insn{Op: HLT, Len: 1}},
		{"f3 90", 64, Insn{Op: PAUSE, Len: 2, Rep: true}},
		{"f3 6e", 64, Insn{Op: OUTS, Len: 2, Rep: true}},
		{"66 6d", 32, Insn{Op: INS, Len: 2}},
		{"e4 60", 16, Insn{Op: IN, Len: 2}},
		{"66 ef", 32, Insn{Op: OUT, Len: 2}},
		{"0f 22 c0", 64, Insn{Op: MovToCR, Len: 3}},
		{"41 0f 22 dc", 64, Insn{Op: MovToCR, Len: 4, Reg: 3, GPR: 12}},
		{"44 0f 20 c7", 64, Insn{Op: MovFromCR, Len: 4, Reg: 8, GPR: 7}},
		{"f0 0f 20 c0", 32, Insn{Op: MovFromCR, Len: 4, Reg: 8}},
		{"44 66 0f 20 c7", 64, Insn{Op: MovFromCR, Len: 5, GPR: 7}}, // REX that doesn't count
		{"0f 20 07", 64, Insn{Op: MovFromCR, Len: 3, GPR: 7}},       // mod is ignored
		{"0f 23 f8", 64, Insn{Op: MovToDR, Len: 3, Reg: 7}},
		{"0f 06", 64, Insn{Op: CLTS, Len: 2}},
		{"0f 01 f0", 16, Insn{Op: LMSW, Len: 3}},
		{"0f 01 e3", 16, Insn{Op: SMSW, Len: 3, GPR: 3}},
		{"0f 01 36 34 12", 16, Insn{Op: LMSW, Len: 5, Memory: true}},
		{"0f 01 38", 64, Insn{Op: INVLPG, Len: 3}},
		{"cd 80", 64, Insn{Op: Other, Len: 2}},
		{"48 8b 04 25 00 10 00 00", 64, Insn{Op: Other, Len: 8}},
		{"90", 64, Insn{Op: Other, Len: 1}},
		{"40 90", 64, Insn{Op: Other, Len: 2}},
		{"40", 32, Insn{Op: Other, Len: 1}}, // INC EAX
	} {
		code := append(bytesOf(t, c.code), 0xcc, 0xcc)
		if c.code == "40" {
			code = code[:1]
		}
		if got, err := Decode(code, c.bits); err != nil || got != c.want {
			t.Errorf("%s in %d bits: %+v %v, want %+v", c.code, c.bits, got, err, c.want)
		}
	}
}

func TestDecodeBad(t *testing.T) {
	for _, c := range []struct {
		code string
		want error
	}{
		{"", ErrShort}, {"0f", ErrShort}, {"0f 01", ErrShort}, {"66", ErrShort}, {"0f 22", ErrShort}, {"e4", ErrShort},
		{"48 8b 04", ErrShort},
		{strings.Repeat("66", 15), ErrInvalid},
		{strings.Repeat("66", 14) + "0fa2", ErrInvalid}, // 16 bytes
		{"06", ErrInvalid},                              // PUSH ES in 64-bit mode
	} {
		if got, err := Decode(bytesOf(t, c.code), 64); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v %v, want %v", c.code, got, err, c.want)
		}
	}
}

// TestLengthAgrees compares the fast paths with x86asm where that knows the
// instruction.
func TestLengthAgrees(t *testing.T) {
	for _, op := range []string{"0fa2", "0f31", "0f30", "0f32", "0f33", "0f08", "0f09", "0f06", "f4", "6c", "6f", "e410", "e710", "ec", "ef",
		"0f01f9", "0f01c8", "0f01c9", "0f01d1", "0f22d8", "0f20c0", "0f23c1", "0f01f0", "0f01e0"} {
		for _, pre := range []string{"", "66", "f3", "48", "6648", "2e"} {
			code := bytesOf(t, pre+op)
			x, err := x86asm.Decode(code, 64)
			if err != nil {
				continue
			}
			if got, err := Decode(code, 64); err != nil || int(got.Len) != x.Len {
				t.Errorf("% x: %+v %v, x86asm says %d", code, got, err, x.Len)
			}
		}
	}
}

func TestNoAlloc(t *testing.T) {
	code := bytesOf(t, "0f01d9cccccc")
	if n := testing.AllocsPerRun(100, func() {
		if in, err := Decode(code, 64); err != nil || in.Len != 3 {
			t.Fatal(in, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for VMMCALL", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"0fa2", "0f01d9", "440f20c7", "f36e", "0f013634120000", "cd80", "666666660f01d1", "c4e27d18", "62f17c48"} {
		f.Add(bytesOf(f, s), byte(2))
	}
	f.Fuzz(func(t *testing.T, code []byte, mode byte) {
		bits := []int{16, 32, 64}[mode%3]
		in, err := Decode(code, bits)
		if err != nil {
			if in != (Insn{}) || !errors.Is(err, ErrShort) && !errors.Is(err, ErrInvalid) {
				t.Fatalf("% x: %+v %v", code, in, err)
			}
			return
		}
		if in.Len == 0 || int(in.Len) > len(code) || in.Len > MaxLen || in.GPR > 15 || in.Reg > 15 {
			t.Fatalf("% x: %+v", code, in)
		}
		// what follows an instruction does not matter
		if again, err := Decode(code[:in.Len], bits); err != nil || again != in {
			t.Fatalf("% x: %+v, cut to its length %+v %v", code, in, again, err)
		}
	})
}
