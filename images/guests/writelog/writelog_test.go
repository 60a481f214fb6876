package writelog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLog: what is written is found, and no damage of it goes unseen.
func TestLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	var said strings.Builder
	const most = 50
	if err := Write(&said, 'F', name, most); err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(said.String())
	last := 0
	if _, err := fmt.Sscan(lines[len(lines)-1], &last); err != nil || last < most || last >= most+flushEach {
		t.Errorf("the last line is %q, %v", lines[len(lines)-1], err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(bytes.NewReader(b), 'F', last); err != nil {
		t.Error(err)
	}
	for what, bad := range map[string][]byte{
		"shorter": b[:len(b)-1], "another log": b, "a bit": flip(b, 5*Size+4000), "an old record": append(bytes.Clone(b[:Size]), b...),
	} {
		log := byte('F')
		if what == "another log" {
			log = 'D'
		}
		if err := Check(bytes.NewReader(bad), log, last); err == nil {
			t.Errorf("%s: nothing is wrong", what)
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}
