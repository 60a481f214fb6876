// Command gen makes, from the schema rpc/nidus.proto, the code of package rpc/api
// and the protocol's manual, docs/rpc.md. It needs no protoc: protocompile reads the
// schema, and the plugins of protobuf and drpc, at the versions in go.mod, write the
// code.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const schema = "nidus.proto" // in rpc/

func main() {
	if err := run("../.."); err != nil { // go generate runs it in rpc/gen
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plugins are the generators of code, each with its parameter: paths are to begin
// in the module's folder.
var plugins = [...]struct{ pkg, param string }{
	{"google.golang.org/protobuf/cmd/protoc-gen-go", "module=nidus"},
	{"storj.io/drpc/cmd/protoc-gen-go-drpc", "module=nidus,json=false"},
}

// generate returns what is made of the schema, by path from the module's folder.
func generate(root string) (map[string][]byte, error) {
	fd, err := parse(filepath.Join(root, "rpc"))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"docs/rpc.md": manual(fd), "rpc/api/access.go": access(fd)}
	for _, p := range plugins {
		req := &pluginpb.CodeGeneratorRequest{
			FileToGenerate: []string{schema}, Parameter: &p.param,
			ProtoFile: []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(fd)},
		}
		if err := plugin(root, p.pkg, req, files); err != nil {
			return nil, fmt.Errorf("%s: %w", p.pkg, err)
		}
	}
	return files, nil
}

func parse(dir string) (protoreflect.FileDescriptor, error) {
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(context.Background(), schema)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// buildOf is a line that tells how the plugin was built, which differs by how it was
// started.
var buildOf = regexp.MustCompile(`(?m)^// protoc-gen-go-drpc version: .*\n`)

// plugin runs one (google/protobuf/compiler/plugin.proto) and keeps its files.
func plugin(root, pkg string, req *pluginpb.CodeGeneratorRequest, files map[string][]byte) error {
	in, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "run", pkg)
	cmd.Dir, cmd.Stdin, cmd.Stderr = root, bytes.NewReader(in), os.Stderr
	cmd.Env = append(os.Environ(), "GOOS=", "GOARCH=")
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return fmt.Errorf("%s", resp.GetError())
	}
	for _, f := range resp.File {
		files[f.GetName()] = buildOf.ReplaceAll([]byte(f.GetContent()), nil)
	}
	return nil
}
