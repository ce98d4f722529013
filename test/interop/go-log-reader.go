// Command go-log-reader reads a log with Go's own packages sumdb/tlog and sumdb/note, which share no code with ours. It verifies
// the checkpoint, every tile, every leaf, the proofs it is given and the cosignatures, and prints what it found as JSON.
//
// Usage: go-log-reader FOLDER REQUEST, where REQUEST is a file with the JSON of type request.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	LogKey      string   // verifier key of the log
	WitnessName string   // name of the witness
	WitnessKey  string   // raw public key of the witness in base64
	Index       int64    // leaf to prove
	Inclusion   []string // our proof that it is in the log
	OldSize     int64    // size of an earlier tree
	OldRoot     string   // and its root
	Consistency []string // our proof that the log extends it
}

type answer struct {
	Origin      string
	Size        int64
	Root        string
	Leaves      int64    // leaves whose hashes were compared
	Inclusion   []string // Go's own proof for the same leaf
	Consistency []string // Go's own proof from the same size
	Cosigned    uint64   // time of the witness's cosignature
	Note        string   // a note that Go signed
	NoteKey     string   // and the key to verify it
}

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func require(ok bool, what string) {
	if !ok {
		check(fmt.Errorf("no"), what)
	}
}

// tiles reads tiles from the folder of a log. Go's paths name the height of tiles, those of C2SP tlog-tiles do not.
type tiles struct{ folder string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.folder, path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	folder := os.Args[1]
	var asked request
	raw, err := os.ReadFile(os.Args[2])
	check(err, "request")
	check(json.Unmarshal(raw, &asked), "request")
	var found answer

	tree, text := openCheckpoint(folder, asked, &found)
	hashes := tlog.TileHashReader(tree, tiles{folder})
	root, err := tlog.TreeHash(tree.N, hashes)
	check(err, "tiles")
	require(root == tree.Hash, "the tiles have the root of the checkpoint")

	compareLeaves(folder, tree.N, hashes, &found)
	checkProofs(tree, hashes, asked, &found)
	found.Cosigned = checkCosignature(text, asked)
	found.Note, found.NoteKey = signNote()
	check(json.NewEncoder(os.Stdout).Encode(found), "output")
}

// openCheckpoint verifies the log's signature and takes the checkpoint apart.
func openCheckpoint(folder string, asked request, found *answer) (tlog.Tree, string) {
	verifier, err := note.NewVerifier(asked.LogKey)
	check(err, "the log's verifier key")
	raw, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	check(err, "checkpoint")
	opened, err := note.Open(raw, note.VerifierList(verifier))
	check(err, "the log's signature")
	var rootText string
	_, err = fmt.Sscanf(opened.Text, "%s\n%d\n%s\n", &found.Origin, &found.Size, &rootText)
	check(err, "checkpoint text")
	root, err := tlog.ParseHash(rootText)
	check(err, "root")
	found.Root = rootText
	require(len(opened.UnverifiedSigs) == 1, "there is one signature besides the log's")
	return tlog.Tree{N: found.Size, Hash: root}, opened.Text
}

// compareLeaves reads all entry bundles and compares the hash of each leaf with the tree's.
func compareLeaves(folder string, size int64, hashes tlog.HashReader, found *answer) {
	for first := int64(0); first < size; first += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: 256}
		if size-first < 256 {
			tile.W = int(size - first)
		}
		path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(folder, path))
		check(err, "bundle")
		var indexes []int64
		var leaves []tlog.Hash
		for at := 0; at < tile.W; at++ {
			length := int(binary.BigEndian.Uint16(bundle))
			leaves = append(leaves, tlog.RecordHash(bundle[2:2+length]))
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(at)))
			bundle = bundle[2+length:]
		}
		require(len(bundle) == 0, path+" has nothing after its entries")
		stored, err := hashes.ReadHashes(indexes)
		check(err, "hashes")
		for at := range stored {
			require(stored[at] == leaves[at], fmt.Sprintf("leaf %d has the hash in the tree", first+int64(at)))
			found.Leaves++
		}
	}
}

// checkProofs verifies our proofs with Go's checks, and makes Go's own.
func checkProofs(tree tlog.Tree, hashes tlog.HashReader, asked request, found *answer) {
	leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, asked.Index)})
	check(err, "leaf hash")
	check(tlog.CheckRecord(parseHashes(asked.Inclusion), tree.N, tree.Hash, asked.Index, leaf[0]), "our inclusion proof")
	record, err := tlog.ProveRecord(tree.N, asked.Index, hashes)
	check(err, "Go's inclusion proof")
	found.Inclusion = formatHashes(record)

	oldRoot, err := tlog.ParseHash(asked.OldRoot)
	check(err, "old root")
	consistency := tlog.TreeProof(parseHashes(asked.Consistency))
	check(tlog.CheckTree(consistency, tree.N, tree.Hash, asked.OldSize, oldRoot), "our consistency proof")
	proof, err := tlog.ProveTree(tree.N, asked.OldSize, hashes)
	check(err, "Go's consistency proof")
	found.Consistency = formatHashes(proof)
}

// checkCosignature verifies the witness's line by the words of C2SP tlog-cosignature, and returns its time.
func checkCosignature(text string, asked request) uint64 {
	raw, err := os.ReadFile(filepath.Join(os.Args[1], "checkpoint"))
	check(err, "checkpoint")
	key, err := base64.StdEncoding.DecodeString(asked.WitnessKey)
	check(err, "the witness's key")
	_, rest, _ := strings.Cut(string(raw), "\u2014 "+asked.WitnessName+" ")
	line, _, _ := strings.Cut(rest, "\n")
	signature, err := base64.StdEncoding.DecodeString(line)
	check(err, "cosignature")
	require(len(signature) == 4+8+64, "a cosignature has 76 bytes")
	time := binary.BigEndian.Uint64(signature[4:])
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	require(ed25519.Verify(key, []byte(message), signature[12:]), "the cosignature verifies")
	return time
}

// signNote makes a key and a note for the other side to verify.
func signNote() (string, string) {
	private, public, err := note.GenerateKey(rand.Reader, "go.example/key")
	check(err, "key")
	signer, err := note.NewSigner(private)
	check(err, "signer")
	text := "Signed by Go.\n\n\u2014 no signature, but text\n"
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	check(err, "note")
	require(bytes.HasPrefix(signed, []byte(text)), "a note begins with its text")
	return string(signed), public
}

func parseHashes(texts []string) []tlog.Hash {
	hashes := []tlog.Hash{}
	for _, text := range texts {
		hash, err := tlog.ParseHash(text)
		check(err, "hash")
		hashes = append(hashes, hash)
	}
	return hashes
}

func formatHashes(hashes []tlog.Hash) []string {
	texts := []string{}
	for _, hash := range hashes {
		texts = append(texts, hash.String())
	}
	return texts
}
