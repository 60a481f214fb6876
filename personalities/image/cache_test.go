package image

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"nidus/personalities/image/imagetest"
)

// packedKernel returns a gzip'd kernel of about size bytes, different for
// each n.
func packedKernel(n, size int) []byte {
	data := bytes.Repeat([]byte(strconv.Itoa(n)+" kernel "), size/10)
	return gzipped(imagetest.ELF{Is64: true, Segments: []imagetest.Segment{{Paddr: 0x100000, Data: data}}, Notes: note(NotePhys32Entry, u32(0x100000))}.Build())
}

func TestCache(t *testing.T) {
	c := NewCache(1 << 20)
	data := packedKernel(1, 1000)
	k1, warm, err := c.Decode("module 1", "one", data, Limits{})
	if err != nil || warm {
		t.Fatal(warm, err)
	}
	// By identity: the data is not even looked at.
	k2, warm, err := c.Decode("module 1", "one", nil, Limits{})
	if err != nil || !warm || k2 != k1 {
		t.Errorf("by identity: %v %v", warm, err)
	}
	// By contents, under another name, which the messages then use.
	k3, warm, err := c.Decode("", "two", bytes.Clone(data), Limits{})
	if err != nil || !warm || k3.Name != "two" || k1.Name != "one" || &k3.Segments[0].Data[0] != &k1.Segments[0].Data[0] {
		t.Errorf("by contents: %v %v", warm, err)
	}
	// A second identity is learnt.
	if _, warm, _ = c.Decode("module 2", "x", data, Limits{}); !warm {
		t.Error("not warm")
	}
	if _, warm, err = c.Decode("module 2", "x", nil, Limits{}); !warm || err != nil {
		t.Error("the second identity was not learnt")
	}
	c.Forget("module 2")
	if held, n := c.Held(); held != 0 || n != 0 || len(c.byID) != 0 || len(c.byHash) != 0 {
		t.Errorf("after Forget: %d bytes, %d kernels", held, n)
	}
	c.Forget("no such thing")
	if _, _, err := c.Decode("bad", "three", []byte("PK\x03\x04"), Limits{}); !errors.Is(err, ErrFormat) || !strings.HasPrefix(err.Error(), "kernel three: ") {
		t.Error(err)
	}
	if _, n := c.Held(); n != 0 || len(c.busy) != 0 {
		t.Error("a bad kernel is kept")
	}
}

// A file that is not packed is its own unpacked copy.
func TestCachePlain(t *testing.T) {
	c := NewCache(1 << 20)
	data := imagetest.ELF{Is64: true, Segments: []imagetest.Segment{{Paddr: 0x100000, Data: []byte("kernel")}}, Notes: note(NotePhys32Entry, u32(0x100000))}.Build()
	k, warm, err := c.Decode("module 1", "plain", data, Limits{})
	if err != nil || !warm || k.Name != "plain" || k.Held != 0 {
		t.Fatal(k, warm, err)
	}
	if held, n := c.Held(); held != 0 || n != 0 {
		t.Errorf("%d bytes and %d kernels are kept", held, n)
	}
	if _, _, err := c.Decode("module 1", "cut", data[:60], Limits{}); !errors.Is(err, ErrTruncated) || !strings.HasPrefix(err.Error(), "kernel cut: ") {
		t.Error(err)
	}
}

func TestCacheEvicts(t *testing.T) {
	const each = 100 << 10
	c := NewCache(4 * (each + 2*entryCost))
	files := make([][]byte, 8)
	for i := range files {
		files[i] = packedKernel(i, each)
		if _, warm, err := c.Decode("", "k", files[i], Limits{}); warm || err != nil {
			t.Fatal(i, warm, err)
		}
		c.Decode("", "k", files[0], Limits{}) // stays recent
		if held, n := c.Held(); held > c.limit || n < 1 {
			t.Fatalf("%d bytes held in %d kernels, limit %d", held, n, c.limit)
		}
	}
	if _, warm, _ := c.Decode("", "k", files[0], Limits{}); !warm {
		t.Error("the most used kernel was dropped")
	}
	if _, warm, _ := c.Decode("", "k", files[1], Limits{}); warm {
		t.Error("the least used kernel was kept")
	}
	c.Shrink(0)
	if held, n := c.Held(); held != 0 || n != 0 {
		t.Errorf("after Shrink: %d bytes, %d kernels", held, n)
	}
	none := NewCache(0)
	for range 2 {
		if _, warm, err := none.Decode("id", "k", files[0], Limits{}); warm || err != nil {
			t.Error(warm, err)
		}
	}
}

func TestCacheDecodesOnceAtATime(t *testing.T) {
	c := NewCache(1 << 20)
	data := packedKernel(1, 50000)
	var decodes atomic.Int32
	started, release := make(chan struct{}), make(chan struct{})
	slow := Limits{Progress: func(int) {
		if decodes.Add(1) == 1 {
			close(started)
			<-release
		}
	}}
	var wg sync.WaitGroup
	kernels := make([]*Kernel, 8)
	get := func(i int) {
		defer wg.Done()
		kernels[i], _, _ = c.Decode("", "k", data, slow)
	}
	wg.Add(1)
	go get(0)
	<-started
	for i := 1; i < len(kernels); i++ {
		wg.Add(1)
		go get(i)
	}
	close(release)
	wg.Wait()
	for _, k := range kernels {
		if k == nil || k != kernels[0] {
			t.Error("not the same kernel")
		}
	}
	if decodes.Load() != 1 {
		t.Errorf("%d decodes", decodes.Load())
	}
}
