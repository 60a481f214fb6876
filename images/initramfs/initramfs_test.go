package initramfs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"reflect"
	"testing"

	"github.com/cavaliergopher/cpio"
)

func TestPack(t *testing.T) {
	var m Image
	m.File("/init", 0o755, []byte("#!/bin/sh\n"))
	m.File("bin/busybox", 0o755, []byte("bb"))
	m.Link("bin/sh", "busybox")
	m.Dir("proc")
	m.File("init", 0o755, []byte("second")) // the first one stays
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Pack()
	if err != nil || !bytes.Equal(packed, again) {
		t.Fatalf("not reproducible: %v", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	r := cpio.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Linkname != "" {
			data = []byte(h.Linkname)
		}
		got = append(got, fmt.Sprintf("%s %o %s", h.Name, uint32(h.Mode), data))
	}
	want := []string{"init 100755 #!/bin/sh\n", "bin 40755 ", "bin/busybox 100755 bb", "bin/sh 120777 busybox", "proc 40755 "}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
