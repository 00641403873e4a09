package main

import (
	"encoding/binary"
	"errors"
	"math"
)

// The part of CBOR (RFC 8949) that Smithy RPC v2 uses.

var errCbor = errors.New("malformed CBOR")

type decoder struct {
	data []byte
	at   int
}

func decodeCbor(data []byte) (value any, err error) {
	defer func() {
		if recover() != nil { // an index beyond the end
			err = errCbor
		}
	}()
	d := &decoder{data: data}
	value = d.item()
	return value, nil
}

type breakMark struct{}

func (d *decoder) item() any {
	first := d.data[d.at]
	d.at++
	major, extra := first>>5, first&31
	if major == 7 {
		return d.simple(extra)
	}
	if extra == 31 {
		return d.indefinite(major)
	}
	number := d.number(extra)
	switch major {
	case 0:
		return float64(number)
	case 1:
		return -1 - float64(number)
	case 2, 3:
		text := string(d.data[d.at : d.at+int(number)])
		d.at += int(number)
		return text
	case 4:
		list := make([]any, number)
		for index := range list {
			list[index] = d.item()
		}
		return list
	case 5:
		members := make(map[string]any, number)
		for ; number > 0; number-- {
			name := d.item().(string)
			members[name] = d.item()
		}
		return members
	}
	return d.item() // a tag, of a time
}

func (d *decoder) number(extra byte) uint64 {
	if extra < 24 {
		return uint64(extra)
	}
	size := 1 << (extra - 24)
	var number uint64
	for _, each := range d.data[d.at : d.at+size] {
		number = number<<8 | uint64(each)
	}
	d.at += size
	return number
}

func (d *decoder) indefinite(major byte) any {
	text, list, members := "", []any{}, map[string]any{}
	for {
		item := d.item()
		if _, ended := item.(breakMark); ended {
			break
		}
		switch major {
		case 2, 3:
			text += item.(string)
		case 4:
			list = append(list, item)
		default:
			members[item.(string)] = d.item()
		}
	}
	switch major {
	case 2, 3:
		return text
	case 4:
		return list
	}
	return members
}

func (d *decoder) simple(extra byte) any {
	switch extra {
	case 20, 21:
		return extra == 21
	case 26:
		return float64(math.Float32frombits(uint32(d.number(26))))
	case 27:
		return math.Float64frombits(d.number(27))
	case 31:
		return breakMark{}
	}
	return nil
}

func cborHead(out []byte, major byte, number int) []byte {
	switch {
	case number < 24:
		return append(out, major<<5|byte(number))
	case number < 1<<8:
		return append(out, major<<5|24, byte(number))
	case number < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, major<<5|25), uint16(number))
	}
	return binary.BigEndian.AppendUint32(append(out, major<<5|26), uint32(number))
}

func cborText(out []byte, text string) []byte {
	return append(cborHead(out, 3, len(text)), text...)
}

func cborFloat(out []byte, value float64) []byte {
	return binary.BigEndian.AppendUint64(append(out, 0xfb), math.Float64bits(value))
}

// encodeCbor knows what the answers hold: times are floats of the type `moment`.
func encodeCbor(out []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return cborText(out, v)
	case float64:
		return cborFloat(out, v)
	case moment:
		return cborFloat(append(out, 0xc1), float64(v))
	case []float64:
		out = cborHead(out, 4, len(v))
		for _, each := range v {
			out = cborFloat(out, each)
		}
		return out
	case []moment:
		out = cborHead(out, 4, len(v))
		for _, each := range v {
			out = cborFloat(append(out, 0xc1), float64(each))
		}
		return out
	case []any:
		out = cborHead(out, 4, len(v))
		for _, each := range v {
			out = encodeCbor(out, each)
		}
		return out
	case map[string]any:
		out = cborHead(out, 5, len(v))
		for name, each := range v {
			out = encodeCbor(cborText(out, name), each)
		}
		return out
	}
	panic("a value that CBOR answers do not hold")
}
