// Command mkimage joins the 32-bit entry stub and the kernel that go build made
// into the image that loaders take.
package main

import (
	"flag"
	"log"
	"os"

	"nidus/images/builder"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkimage: ")
	stub := flag.String("stub", "", "the linked stub (ELF64)")
	kernel := flag.String("kernel", "", "the kernel as go build left it (ELF64)")
	out := flag.String("o", "", "the image to write")
	pvh := flag.Bool("pvh", false, "leave the multiboot headers out")
	flag.Parse()
	entry := builder.AllLoaders
	if *pvh {
		entry = builder.PVHOnly
	}
	b, err := builder.Join(*stub, *kernel, entry)
	if err == nil {
		err = os.WriteFile(*out, b, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
