import {
  DEFAULT_WINDOW_BYTES,
  ERROR,
  type Http2Error,
  LARGEST_FRAME_BYTES,
  MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
  SETTING,
} from './frame.ts';

/** Octets of one setting in a frame. */
export const SETTING_BYTES = 6;
/** Settings that a frame may hold: far more than there are. */
const MAX_SETTINGS = 32;

/** What a client has set, as far as it matters to a server that pushes nothing and sends short frames. */
export class ClientSettings {
  initialWindowBytes = DEFAULT_WINDOW_BYTES;
  /** Table sizes that the last frame set, one after the other: the smallest counts too (RFC 7541 §4.2). */
  headerTableBytes: number[] = [];

  /** Takes the payload `bytes[at, at + length)` of a SETTINGS frame (RFC 9113 §6.5.2), and says what is wrong with it. */
  take(bytes: Buffer, at: number, length: number): Http2Error {
    if (length % SETTING_BYTES !== 0) return ERROR.FRAME_SIZE_ERROR;
    if (length > MAX_SETTINGS * SETTING_BYTES) return ERROR.ENHANCE_YOUR_CALM;
    this.headerTableBytes = [];
    for (let next = at; next < at + length; next += SETTING_BYTES) {
      const error = this.#takeOne(bytes.readUInt16BE(next), bytes.readUInt32BE(next + 2));
      if (error !== ERROR.NO_ERROR) return error;
    }
    return ERROR.NO_ERROR;
  }

  #takeOne(setting: number, value: number): Http2Error {
    switch (setting) {
      case SETTING.HEADER_TABLE_SIZE:
        this.headerTableBytes.push(value);
        return ERROR.NO_ERROR;
      case SETTING.ENABLE_PUSH:
        return value > 1 ? ERROR.PROTOCOL_ERROR : ERROR.NO_ERROR;
      case SETTING.INITIAL_WINDOW_SIZE:
        if (value > MAX_WINDOW_BYTES) return ERROR.FLOW_CONTROL_ERROR;
        this.initialWindowBytes = value;
        return ERROR.NO_ERROR;
      case SETTING.MAX_FRAME_SIZE:
        return value < MAX_FRAME_BYTES || value > LARGEST_FRAME_BYTES ? ERROR.PROTOCOL_ERROR : ERROR.NO_ERROR;
      default:
        return ERROR.NO_ERROR;
    }
  }
}
