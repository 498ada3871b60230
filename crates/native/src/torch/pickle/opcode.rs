//! The opcodes of pickles, with the names of Python's `pickletools`.

macro_rules! opcodes {
    (read { $($byte:literal $variant:ident $name:literal,)* } refused { $($other:literal $other_name:literal,)* }) => {
        /// An opcode that is read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Opcode {
            $($variant,)*
        }

        impl Opcode {
            /// Returns the opcode that `byte` stands for, if it is one that is read.
            pub(super) fn from_byte(byte: u8) -> Option<Opcode> {
                match byte {
                    $($byte => Some(Opcode::$variant),)*
                    _ => None,
                }
            }
        }

        /// Returns the name of any opcode, also of those that are refused.
        pub(super) fn name_of(byte: u8) -> Option<&'static str> {
            match byte {
                $($byte => Some($name),)*
                $($other => Some($other_name),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    read {
        0x80 Proto "PROTO",
        0x95 Frame "FRAME",
        b'.' Stop "STOP",
        b'(' Mark "MARK",
        b'0' Pop "POP",
        b'1' PopMark "POP_MARK",
        b'2' Dup "DUP",
        b'N' None "NONE",
        0x88 NewTrue "NEWTRUE",
        0x89 NewFalse "NEWFALSE",
        b'J' BinInt "BININT",
        b'K' BinInt1 "BININT1",
        b'M' BinInt2 "BININT2",
        0x8a Long1 "LONG1",
        b'G' BinFloat "BINFLOAT",
        b'T' BinString "BINSTRING",
        b'U' ShortBinString "SHORT_BINSTRING",
        b'X' BinUnicode "BINUNICODE",
        0x8c ShortBinUnicode "SHORT_BINUNICODE",
        0x8d BinUnicode8 "BINUNICODE8",
        b'B' BinBytes "BINBYTES",
        b'C' ShortBinBytes "SHORT_BINBYTES",
        0x8e BinBytes8 "BINBYTES8",
        b')' EmptyTuple "EMPTY_TUPLE",
        b't' Tuple "TUPLE",
        0x85 Tuple1 "TUPLE1",
        0x86 Tuple2 "TUPLE2",
        0x87 Tuple3 "TUPLE3",
        b']' EmptyList "EMPTY_LIST",
        b'a' Append "APPEND",
        b'e' Appends "APPENDS",
        b'}' EmptyDict "EMPTY_DICT",
        b's' SetItem "SETITEM",
        b'u' SetItems "SETITEMS",
        b'q' BinPut "BINPUT",
        b'r' LongBinPut "LONG_BINPUT",
        0x94 Memoize "MEMOIZE",
        b'h' BinGet "BINGET",
        b'j' LongBinGet "LONG_BINGET",
        b'c' Global "GLOBAL",
        0x93 StackGlobal "STACK_GLOBAL",
        b'i' Inst "INST",
        b'Q' BinPersid "BINPERSID",
        b'R' Reduce "REDUCE",
        b'b' Build "BUILD",
    }
    refused {
        b'I' "INT",
        b'L' "LONG",
        0x8b "LONG4",
        b'F' "FLOAT",
        b'S' "STRING",
        b'V' "UNICODE",
        0x96 "BYTEARRAY8",
        0x97 "NEXT_BUFFER",
        0x98 "READONLY_BUFFER",
        b'l' "LIST",
        b'd' "DICT",
        0x8f "EMPTY_SET",
        0x90 "ADDITEMS",
        0x91 "FROZENSET",
        b'p' "PUT",
        b'g' "GET",
        b'P' "PERSID",
        b'o' "OBJ",
        0x81 "NEWOBJ",
        0x92 "NEWOBJ_EX",
        0x82 "EXT1",
        0x83 "EXT2",
        0x84 "EXT4",
    }
}
