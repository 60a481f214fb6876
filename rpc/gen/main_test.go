package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// What is committed is what the schema says now.
func TestCurrent(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 4 {
		t.Errorf("%d files are made, want 4", len(files))
	}
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what rpc/nidus.proto says; run go generate ./rpc/... (%v)", name, err)
		}
	}
}

// Who reads the manual finds every call, message of more than one use, and number
// explained.
func TestCommented(t *testing.T) {
	fd, err := parse("..")
	if err != nil {
		t.Fatal(err)
	}
	m := &page{fd: fd}
	check := func(d protoreflect.Descriptor) {
		if m.of(d) == "" {
			t.Errorf("%s has no comment", d.FullName())
		}
	}
	for i := range fd.Services().Len() {
		s := fd.Services().Get(i)
		check(s)
		for j := range s.Methods().Len() {
			check(s.Methods().Get(j))
		}
	}
	for i := range fd.Enums().Len() {
		check(fd.Enums().Get(i))
	}
	if m.comment(fd.SourceLocations().ByPath(protoreflect.SourcePath{14})) == "" {
		t.Error("the file's comment is lost")
	}
}
